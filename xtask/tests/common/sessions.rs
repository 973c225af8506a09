//! Sessions on a page. Each `$ ` line of a `console` block is run by bash, and its output on both streams is compared with
//! the lines that follow. A command goes on behind `\`, in a line that begins with `> `.

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// A command and what it prints.
#[derive(Debug, PartialEq, Eq)]
pub struct Step {
    pub command: String,
    pub output: String,
    /// What stands behind `console`, such as what the machine must have.
    pub needs: String,
}

/// The commands on a page.
pub fn steps(markdown: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut block = None;
    let mut indent = 0;
    for line in markdown.lines() {
        let Some(needs) = block else {
            // A block in a list is indented.
            indent = line.len() - line.trim_start().len();
            block = line.trim_start().strip_prefix("```console").map(str::trim_start);
            continue;
        };
        let line = line.get(indent..).unwrap_or_default();
        if line == "```" {
            block = None;
        } else if let Some(command) = line.strip_prefix("$ ") {
            steps.push(Step { command: command.into(), output: String::new(), needs: needs.into() });
        } else {
            let step = steps.last_mut().expect("a console block begins with a command");
            match line.strip_prefix("> ").filter(|_| step.output.is_empty() && step.command.ends_with('\\')) {
                Some(more) => step.command += &format!("\n{more}"),
                None => step.output += &format!("{line}\n"),
            }
        }
    }
    assert_eq!(block, None, "the last console block has no end");
    steps
}

/// Runs a command of a page in this folder.
pub fn bash(command: &str, folder: &Path) -> Output {
    let mut bash = Command::new("bash");
    bash.args(["-c", &format!("{{ {command}\n}} 2>&1")]).current_dir(folder).stdin(Stdio::null());
    bash.output().expect("bash is there")
}

/// Runs a command of a page in this folder, and compares what it prints. Returns what differs.
pub fn difference(step: &Step, folder: &Path) -> Option<String> {
    let mut printed: String = String::from_utf8_lossy(&bash(&step.command, folder).stdout)
        .split_inclusive('\n')
        // Without KVM, flatland first prints a notice.
        .filter(|line| !line.starts_with("flatland: running on the soft engine, because "))
        .collect();
    // On a page each line has an end. A guest's last line may have none.
    if !printed.is_empty() && !printed.ends_with('\n') {
        printed.push('\n');
    }
    let is_same = is_like(&step.output, &printed)
        || is_like(&without_addresses(&step.output), &without_addresses(&printed));
    (!is_same).then(|| format!("$ {}\n{printed}instead of\n{}", step.command, step.output))
}

/// Removes addresses of functions, which depend on the compiler and change with any other function: ` at 0x000000ab in
/// NAME`, or ` at 0x000000ab, called in NAME`.
fn without_addresses(text: &str) -> String {
    let mut pieces = text.split(" at 0x");
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |text, piece| match piece.split_at_checked(8) {
        Some((_, rest)) if rest.starts_with(" in ") || rest.starts_with(", called in ") => {
            text + " at ADDRESS" + rest
        }
        _ => text + " at 0x" + piece,
    })
}

/// Whether a text is this one, where `...` stands for anything, also for several lines, and in a line of its own for none.
fn is_like(pattern: &str, text: &str) -> bool {
    let lines = pattern.split_inclusive('\n').map(|line| if line == "...\n" { "..." } else { line });
    let pattern: String = lines.collect();
    let Some((first, pattern)) = pattern.split_once("...") else { return pattern == text };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<_> = pattern.split("...").collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        let Some((_, behind)) = text.split_once(part) else { return false };
        text = behind;
    }
    text.ends_with(last)
}

#[test]
fn steps_are_read() {
    let markdown = "text\n```console\n$ a b\none\n  two\n$ c \\\n> d\n> e\n```\n$ no\n```rust\n$ no\n```\n1. d\n\n   ```console kvm\n   $ e\n\n     f\n   ```\n";
    let step = |command: &str, output: &str, needs: &str| Step {
        command: command.into(),
        output: output.into(),
        needs: needs.into(),
    };
    assert_eq!(
        steps(markdown),
        [step("a b", "one\n  two\n", ""), step("c \\\nd", "> e\n", ""), step("e", "\n  f\n", "kvm")]
    );
}

#[test]
fn addresses_in_functions_are_left_out() {
    for (text, expected) in [
        ("a at 0x000000ab in b at 0x1 c", "a at ADDRESS in b at 0x1 c"),
        ("a at 0x000000ab, called in b", "a at ADDRESS, called in b"),
        ("a at 0x000000ab: b", "a at 0x000000ab: b"),
    ] {
        assert_eq!(without_addresses(text), expected);
    }
}

#[test]
fn dots_stand_for_anything() {
    for (pattern, text, expected) in [
        ("a\n", "a\n", true),
        ("a\n", "b\n", false),
        ("a ... c\n", "a b\nb c\n", true),
        ("a ... c\n", "a b\nb d\n", false),
        ("...b...c\n", "b c b c c\n", true),
        ("a...b...b\n", "a b\n", false),
        ("a\n...\n", "a\n", true),
    ] {
        assert_eq!(is_like(pattern, text), expected, "{pattern} {text}");
    }
}
