"use strict";
(function () {
  var svg = document.documentElement;
  var width = 1200, margin = 10, character = 6.7;
  var boxes = Array.prototype.map.call(document.querySelectorAll("#boxes > g"), function (group) {
    var rect = group.querySelector("rect");
    return {
      group: group,
      rect: rect,
      label: group.querySelector("text"),
      title: group.querySelector("title").textContent,
      name: group.querySelector("title").textContent.replace(/ \([^()]*\)$/, ""),
      x: +rect.getAttribute("x"),
      y: +rect.getAttribute("y"),
      width: +rect.getAttribute("width"),
    };
  });
  var shown = document.getElementById("shown");
  var intro = shown.textContent;

  function button(x, text, action) {
    var element = document.createElementNS("http://www.w3.org/2000/svg", "text");
    element.setAttribute("x", x);
    element.setAttribute("y", 20);
    element.setAttribute("class", "button");
    element.setAttribute("role", "button");
    element.setAttribute("tabindex", "0");
    element.textContent = text;
    element.addEventListener("click", action);
    element.addEventListener("keydown", function (event) {
      if (event.key === "Enter") action();
    });
    svg.appendChild(element);
  }

  // Makes a box as wide as the picture, with what it calls and its callers.
  function zoom(to) {
    var scale = (width - 2 * margin) / to.width;
    boxes.forEach(function (box) {
      var isCaller = box.y > to.y;
      var from = Math.max(box.x, to.x), end = Math.min(box.x + box.width, to.x + to.width);
      var isSeen = end - from > to.width * 1e-4;
      box.group.style.display = isSeen ? "" : "none";
      box.group.classList.toggle("faint", isCaller && to.width < boxes[0].width);
      if (!isSeen) return;
      var x = margin + (from - to.x) * scale, wide = (end - from) * scale;
      box.rect.setAttribute("x", x);
      box.rect.setAttribute("width", wide);
      box.label.setAttribute("x", x + 3);
      var fits = Math.floor((wide - 6) / character);
      box.label.textContent =
        box.name.length <= fits ? box.name : fits >= 3 ? box.name.slice(0, fits - 2) + ".." : "";
    });
  }

  // Marks the boxes whose names have this text, and says which part of the whole they are.
  function search(text) {
    var covered = 0, count = 0, end = -1;
    var found = boxes.filter(function (box) {
      var isFound = text !== "" && box.name.toLowerCase().indexOf(text.toLowerCase()) >= 0;
      box.group.classList.toggle("found", isFound);
      return isFound;
    });
    // A box on top of one that is found is part of that one.
    found.sort(function (a, b) { return a.x - b.x || b.width - a.width; });
    found.forEach(function (box) {
      count += 1;
      if (box.x + box.width <= end + 1e-6) return;
      covered += box.width;
      end = box.x + box.width;
    });
    shown.textContent = text === "" ? intro :
      "\"" + text + "\": " + count + (count === 1 ? " box, " : " boxes, ") +
      (covered * 100 / boxes[0].width).toFixed(1) + "% of all";
  }

  function ask() {
    var text = prompt("Search for functions with this text in their names", "");
    if (text !== null) search(text);
  }

  boxes.forEach(function (box) {
    box.group.addEventListener("click", function () { zoom(box); });
    box.group.addEventListener("mouseover", function () { shown.textContent = box.title; });
  });
  button(width - 180, "search (/)", ask);
  button(width - 90, "show all", function () { zoom(boxes[0]); search(""); });
  window.addEventListener("keydown", function (event) {
    if (event.key === "/") { event.preventDefault(); ask(); }
    if (event.key === "Escape") { zoom(boxes[0]); search(""); }
  });
  // A link may name what is searched: profile.svg#search=TEXT
  var asked = /^#search=(.*)$/.exec(location.hash);
  if (asked) search(decodeURIComponent(asked[1]));
})();
