//! docs/what-did-it-do.md: each of its commands is run, what they make is opened in a browser, and its pictures are made
//! of that.

#[path = "../common/browser.rs"]
mod browser;
#[path = "../common/mod.rs"]
mod common;
mod page;
mod pictures;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use browser::{Browser, address};
use common::{root, text};
use page::{PAGE, Ran, commands, files_of, made_for_a_browser, ran};
use serde_json::Value;

/// What commands with this in them say, on either stream.
const SAID: [(&str, &[&str]); 9] = [
    ("--coverage", &["lines", "functions", "branches", "\nall files ", "\nnot called: "]),
    (
        "(4 - 1) * 2\\n' | cargo xtask run calc --coverage",
        &["7\n6\n", "\nsrc/bin/calc/expression.rs ", "::divide (src/bin/calc/expression.rs:"],
    ),
    ("--coverage-add ", &["3\n", "\nsrc/bin/calc/expression.rs ", "\nruntime/src/heap.rs "]),
    ("test --guest --coverage", &["test result: ok. ", "\nruntime/src/heap.rs "]),
    (
        "--profile ",
        &[
            "flatland: profile: ",
            " instructions, written to target/",
            " with its calls  function\n",
            "  line\n",
        ],
    ),
    (
        "size nbody --release\n",
        &["  .text\n", "  by crate\n", "  by function and variable\n", "  nbody::energy\n"],
    ),
    ("--against ", &["      +0  bytes: "]),
    ("--trace spans --", &["\ntrace: ] load\n", "\ntrace: [ call  in wasm::run (src/bin/wasm/main.rs:"]),
    ("--coverage=target/coverage", &["target/coverage"]),
];

#[test]
fn each_command_does_what_the_page_says() {
    let before = entries();
    let mut said = 0;
    for Ran { command, output } in ran() {
        let told = text(&output.stdout) + &text(&output.stderr);
        assert!(output.status.success(), "{command}: {}\n{told}", output.status);
        for (_, texts) in SAID.iter().filter(|(part, _)| format!("{command}\n").contains(part)) {
            said += texts.len();
            for text in *texts {
                assert!(told.contains(text), "{command} does not say `{text}`:\n{told}");
            }
        }
        for name in files_of(command) {
            let path = root().join(name);
            if path.is_dir() {
                assert!(path.join("index.html").is_file(), "{command}");
                continue;
            }
            let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{command}: {name}: {error}"));
            assert!(!bytes.is_empty(), "{command}: {name} is empty");
            // A line of JSON Lines is JSON, too.
            let values: Vec<&[u8]> = match path.extension().and_then(|extension| extension.to_str()) {
                Some("json") => vec![&bytes],
                Some("jsonl") => bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect(),
                _ => vec![],
            };
            for value in values {
                let parsed = serde_json::from_slice::<Value>(value);
                assert!(parsed.is_ok(), "{command}: {name}: {parsed:?}: {}", text(value));
            }
        }
    }
    assert!(said > 20, "{said}");
    assert_eq!(entries(), before, "a command writes into the checkout: let it write to target/");
}

/// What lies in the folder that the commands are run in.
fn entries() -> BTreeSet<String> {
    let entries = fs::read_dir(root()).expect("the checkout is there");
    entries.map(|entry| entry.expect("it can be read").file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn no_command_is_in_the_middle_of_a_text() {
    // It is a test itself, and downloads what it compares.
    const ELSEWHERE: [&str; 1] = ["cargo xtask differential --coverage"];
    let texts: String = PAGE.lines().filter(|line| !line.starts_with("    ")).collect::<Vec<_>>().join("\n");
    let code = texts.split('`').skip(1).step_by(2);
    let is_command = |code: &&str| code.starts_with("cargo ") || code.starts_with("flatland ");
    assert_eq!(code.filter(is_command).collect::<Vec<_>>(), ELSEWHERE, "indent it, so that it is run");
    assert!(commands().len() >= 10, "{:?}", commands());
}

/// A page: the places that a link may lead to, and the links.
#[derive(Debug)]
struct Seen {
    places: Vec<String>,
    links: Vec<String>,
}

#[test]
fn a_browser_has_no_complaint() {
    let mut browser = Browser::start("complaints");
    let mut to_see: Vec<_> = made_for_a_browser().iter().map(|path| address(path)).collect();
    assert!(to_see.len() >= 4, "{to_see:?}");
    let mut seen = BTreeMap::<String, Seen>::new();
    while let Some(url) = to_see.pop() {
        if seen.contains_key(&url) {
            continue;
        }
        browser.open(&url);
        assert_eq!(browser.complaints(), [""; 0], "{url}");
        assert_eq!(browser.texts(BROKEN), [""; 0], "{url}");
        assert_eq!(browser.texts(TOO_LONG), [""; 0], "{url}");
        // `document.scripts` leaves out those of SVG.
        let scripts = browser.evaluate("document.querySelectorAll('script').length");
        if scripts != 0 {
            is_complete_without_a_script(&mut browser, &url);
        }
        let places = browser.texts("[...document.querySelectorAll('[id]')].map(element => element.id)");
        let links = browser.texts(LINKS);
        let pages = links.iter().filter_map(|link| link.split('#').next());
        to_see.extend(pages.filter(|page| page.ends_with(".html")).map(Into::into));
        seen.insert(url, Seen { places, links });
    }
    println!("{} pages", seen.len());
    assert!(seen.len() > 15, "{:?}", seen.keys());
    for (url, Seen { links, .. }) in &seen {
        for link in links.iter().filter(|link| !link.starts_with("data:")) {
            let (page, place) =
                link.split_once('#').map_or((&**link, None), |(page, place)| (page, Some(place)));
            let Some(place) = place else {
                // The browser would have complained of a style that is not there, and has opened all pages.
                assert!(seen.contains_key(page) || page.ends_with("/style.css"), "{url}: {link}");
                continue;
            };
            assert!(seen[page].places.iter().any(|id| id == place), "{url}: {link}");
        }
    }
    let links = seen.values().map(|seen| seen.links.len()).sum::<usize>();
    assert!(links > 100, "{links}");
}

/// Where the links of a page lead.
const LINKS: &str = "[...document.querySelectorAll('[href], [src]')].map(element =>
    new URL(element.getAttribute('href') ?? element.getAttribute('src'), document.baseURI).href)";

/// What the browser says of XML that is none.
const BROKEN: &str = "[...document.querySelectorAll('parsererror')].map(element => element.textContent)";

/// Texts of a picture that are longer than the area they are in.
const TOO_LONG: &str = "[...document.querySelectorAll('g > rect + text')]
    .filter(text => text.getBBox().x + text.getBBox().width >
        text.previousElementSibling.getBBox().x + text.previousElementSibling.getBBox().width)
    .map(text => text.textContent)";

/// Checks that a picture with a script is the same without: all but the buttons at the top.
#[track_caller]
fn is_complete_without_a_script(browser: &mut Browser, url: &str) {
    let below_the_buttons = Value::from([0, 46, 1200, 754]);
    let with = browser.picture(&below_the_buttons);
    let boxes = browser.evaluate("document.querySelectorAll('.box').length");
    browser.allow_scripts(false);
    browser.open(url);
    assert_eq!(
        browser.evaluate("document.querySelectorAll('.button').length"),
        0,
        "{url}: the script was run"
    );
    assert_eq!(browser.evaluate("document.querySelectorAll('.box').length"), boxes, "{url}");
    assert!(browser.picture(&below_the_buttons) == with, "{url}: the picture differs without its script");
    browser.allow_scripts(true);
    browser.open(url);
}

#[test]
fn a_flame_graph_is_searched_and_zoomed() {
    let made = made_for_a_browser();
    let graph = made.iter().find(|path| path.ends_with("target/nbody.svg")).expect("the page makes it");
    let mut browser = Browser::start("flame-graph");
    let found = |browser: &mut Browser| browser.evaluate("document.querySelectorAll('.found').length");
    let shown =
        |browser: &mut Browser| browser.texts("[document.getElementById('shown').textContent]").remove(0);
    let wide = |browser: &mut Browser| {
        browser.texts(
            "[...document.querySelectorAll('.box')]
                .filter(box => box.style.display !== 'none' && box.querySelector('rect').getBBox().width > 1179)
                .map(box => box.querySelector('text').textContent)",
        )
    };

    browser.open(&address(graph));
    let (intro, at_first) = (shown(&mut browser), wide(&mut browser));
    assert!(intro.ends_with(" instructions; the width of a box is its part of them"), "{intro}");
    assert!(at_first.contains(&"nbody::main".to_owned()) && !at_first.contains(&"__muldf3".to_owned()));
    assert_eq!(found(&mut browser), 0);

    // `/` asks for a text.
    browser.answer = "MULDF3".into();
    browser.press("/");
    let searched = shown(&mut browser);
    assert!(searched.starts_with("\"MULDF3\": ") && searched.ends_with("% of all"), "{searched}");
    let boxes = found(&mut browser);
    assert_ne!(boxes, 0, "upper and lower case are the same to it");
    assert_eq!(
        searched.split_once(": ").and_then(|(_, rest)| rest.split(' ').next()),
        Some(&*boxes.to_string())
    );
    browser.press("Escape");
    assert_eq!((found(&mut browser), shown(&mut browser)), (0.into(), intro));

    // A link may name it.
    browser.open(&format!("{}#search=nbody%3A%3Aadv", address(graph)));
    assert_eq!(browser.complaints(), [""; 0]);
    assert!(shown(&mut browser).starts_with("\"nbody::adv\": "), "{}", shown(&mut browser));
    assert_ne!(found(&mut browser), 0);

    // A click makes a box as wide as the picture, with its callers.
    let middle = "(box => [box.x + box.width / 2, box.y + box.height / 2])([...document.querySelectorAll('.box')]
        .find(box => box.querySelector('text').textContent.endsWith('::__muldf3')).querySelector('rect').getBBox())";
    browser.click(middle);
    let zoomed = wide(&mut browser);
    assert!(zoomed.iter().any(|name| name.ends_with("::__muldf3")), "{zoomed:?}");
    assert!(zoomed.len() > at_first.len(), "{zoomed:?}");
    browser.press("Escape");
    assert_eq!(wide(&mut browser), at_first);
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn the_pictures_are_there() {
    pictures::check();
}

/// `cargo xtask pictures`.
#[test]
#[ignore = "it writes to docs/pictures: `cargo xtask pictures` runs it"]
fn pictures_are_made_anew() {
    pictures::make();
}
