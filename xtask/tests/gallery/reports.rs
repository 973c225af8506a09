//! What a person sees when a guest has gone wrong, line by line: `reports.expected` has it for each way of `fault` and for
//! `panic`. Where code lies and what the registers hold is the compiler's choice, and left out.

use super::numbers::without_long_numbers;
use super::{On, engines, guest};

const EXPECTED: &str = include_str!("reports.expected");

#[test]
fn reports_are_as_expected() {
    let ways =
        ["divide", "ud2", "null", "rodata", "read", "write", "jump", "port", "stack", "gp", "triple", "sse"];
    let mut wrong = String::new();
    for on in engines() {
        let faults = ways.iter().map(|way| (*way, guest(on, "fault", &[way], b"")));
        for (way, output) in faults.chain([("panic", guest(on, "panic", &[], b"*"))]) {
            let actual = without_numbers(&String::from_utf8_lossy(&output.stderr));
            let title = if on == On::Kvm { format!("{way}, kvm") } else { way.to_owned() };
            let expected = section(&title).or_else(|| section(way)).unwrap_or_default();
            if actual != expected {
                wrong += &format!("== {title}\n{actual}");
            }
        }
    }
    assert!(wrong.is_empty(), "not as expected:\n{wrong}");
}

/// What stands below `== TITLE`.
fn section(title: &str) -> Option<&'static str> {
    let text = EXPECTED.split(&format!("== {title}\n")).nth(1)?;
    Some(&text[..text.find("\n== ").map_or(text.len(), |end| end + 1)])
}

/// Takes numbers out that are the compiler's choice.
fn without_numbers(text: &str) -> String {
    text.split_inclusive('\n')
        .map(|line| match line.trim_start().split(' ').next() {
            Some("instruction") if line.contains("call") => "  instruction  call\n".into(),
            Some("eip") => "               eip NUMBER  eflags NUMBER\n".into(),
            _ => without_long_numbers(line),
        })
        .collect()
}
