//! Pages of recorded runs, in a browser without a window.

#[path = "common/browser.rs"]
#[allow(dead_code, reason = "other tests use other parts of it")]
mod browser;
mod common;

use std::fs;
use std::path::PathBuf;

use browser::{Browser, address};
use common::{file, lock, root, run, text, xtask};
use flatland::x86::Registers;
use flatland::{EngineChoice, Machine, Recording, Wants};

const INPUT: &[u8] = b"1 + 2 * 3\n(4 - 1) * 2\n";

/// Makes the page of a guest program that is run with this input.
fn page(name: &str, input: &[u8], words: &[&str]) -> PathBuf {
    let to = file(&format!("{name}.html"));
    let _ = fs::remove_file(&to);
    let _lock = lock();
    let mut command = xtask(["page", name, "-o"]);
    command.arg(&to).args(words);
    let output = run(&mut command, input);
    let told = text(&output.stderr);
    assert!(output.status.success(), "{told}");
    let said = format!(" written to {}", to.display());
    assert!(told.lines().any(|line| line.starts_with("flatland: page: ") && line.contains(&said)), "{told}");
    to
}

/// Opens a page, and waits until it shows the run or a problem.
fn open(browser: &mut Browser, path: &str) {
    browser.open(path);
    browser.evaluate(
        "new Promise(done => { const look = () => document.body.dataset.ready || !problem.hidden ? done(1) : \
         setTimeout(look, 10); look(); })",
    );
}

fn press(browser: &mut Browser, button: &str) -> u64 {
    browser.evaluate(&format!("document.getElementById('{button}').click()"));
    position(browser)
}

fn position(browser: &mut Browser) -> u64 {
    let shown = shown(browser, "at.value + ' ' + slider.value");
    let (field, slider) = shown.split_once(' ').unwrap();
    assert_eq!(field, slider, "field and slider are one");
    field.parse().unwrap()
}

/// Waits until the address says where the page is.
fn bookmark(browser: &mut Browser) -> u64 {
    browser.evaluate(
        "new Promise(done => { const look = () => location.hash === `#i=${at.value}` ? done(1) : \
         setTimeout(look, 10); look(); })",
    );
    position(browser)
}

fn shown(browser: &mut Browser, expression: &str) -> String {
    browser.evaluate(expression).as_str().unwrap_or_else(|| panic!("{expression}")).to_owned()
}

/// The registers as the page shows them.
fn registers(browser: &mut Browser) -> Vec<String> {
    browser.texts("REGISTERS.map(name => document.getElementById(`register-${name}`).textContent)")
}

/// The registers at this point of a recorded run that is executed from its beginning.
fn replayed(recording: &Recording, count: u64) -> Vec<String> {
    let mut machine = Machine::builder().engine(EngineChoice::Soft).replay(recording).unwrap();
    machine.resume(&Wants { instructions: Some(count), ..Wants::default() }).unwrap();
    assert_eq!(machine.instructions(), Some(count));
    let Registers { eax, ecx, edx, ebx, esp, ebp, esi, edi, eflags, eip } = machine.registers().unwrap();
    [eax, ecx, edx, ebx, esp, ebp, esi, edi, eflags, eip].map(|value| format!("{value:08x}")).into()
}

#[test]
fn a_run_is_looked_at_forward_and_back() {
    let path = page("calc", INPUT, &[]);
    let mut browser = Browser::start("page");
    let url = address(&path);
    open(&mut browser, &url);
    assert_eq!(shown(&mut browser, "title.textContent"), "calc");
    assert_eq!(shown(&mut browser, "ending.textContent"), "ended with status 0");
    let end: u64 = shown(&mut browser, "slider.max").parse().unwrap();
    assert!(end > 1000 && position(&mut browser) == 0, "{end}");

    // Each move, there and back.
    assert_eq!(press(&mut browser, "step"), 1);
    assert_eq!(press(&mut browser, "back"), 0);
    assert_eq!(press(&mut browser, "back"), 0);
    assert_eq!(shown(&mut browser, "said.textContent"), "This is the beginning.");
    assert_eq!(press(&mut browser, "end"), end);
    browser.evaluate("slider.value = 700; slider.dispatchEvent(new Event('input'))");
    assert_eq!(position(&mut browser), 700);
    let on = press(&mut browser, "line");
    assert!(on > 700);
    assert!(press(&mut browser, "line-back") < on);
    browser.evaluate("document.activeElement.blur()");
    let before = position(&mut browser);
    browser.press("ArrowRight");
    assert_eq!(position(&mut browser), before + 1);

    // Points, in an order that goes forward and back, are what they are in a run from the beginning.
    let recording =
        Recording::read_from(&fs::read(root().join("target/guest/calc.rec")).unwrap()[..]).unwrap();
    let mut count = 1;
    for _ in 0..200 {
        // A generator by Lehmer, of numbers below 2^31.
        count = count * 48271 % 0x7fff_ffff;
        let point = count % end;
        browser.evaluate(&format!("at.value = {point}; go.requestSubmit()"));
        assert_eq!(position(&mut browser), point);
        assert_eq!(registers(&mut browser), replayed(&recording, point), "{point}");
    }

    assert_eq!(bookmark(&mut browser), count % end);

    // A byte that was sent leads to its instruction, and that to who wrote the byte.
    let output = "[...document.querySelectorAll('#console .sent')]";
    press(&mut browser, "end");
    assert_eq!(shown(&mut browser, &format!("{output}.map(span => span.textContent).join('')")), "7\n6\n");
    browser.evaluate(&format!("{output}[2].click()"));
    let sent = position(&mut browser);
    assert!(shown(&mut browser, "document.querySelector('#code .here').textContent").contains("out"));
    browser.evaluate("document.querySelector('[data-register=\"0\"]').click()");
    let written = position(&mut browser);
    assert!(written < sent);
    press(&mut browser, "step");
    assert_eq!(registers(&mut browser)[0], replayed(&recording, sent)[0]);

    // A line of the program's source: to the last time that it was executed, and on from there.
    let row = "document.querySelector('#source .here')";
    browser.evaluate("at.value = 3000; go.requestSubmit()");
    let line = shown(&mut browser, &format!("{row}.textContent"));
    press(&mut browser, "end");
    browser.evaluate(&format!(
        "[...document.querySelectorAll('#source .has-code')].find(row => row.textContent === {line:?})?.click()"
    ));
    let last = press(&mut browser, "to-line-back");
    assert!((3000..end).contains(&last), "{last} {line}");
    assert_eq!(shown(&mut browser, &format!("{row}.textContent")), line);
    press(&mut browser, "line");
    let back = press(&mut browser, "line-back");
    assert!(back <= last, "{back} {last}");

    let kept = bookmark(&mut browser);
    open(&mut browser, &format!("{url}#i={kept}"));
    assert_eq!(position(&mut browser), kept);
    assert_eq!(browser.complaints(), [""; 0]);
}
