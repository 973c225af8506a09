//! Going back: by lines and functions, and the walk back of docs/debugging.md.

use std::fs;
use std::process::Command;

use super::{PRIMES_BELOW_32, Session, file, line, lock, normalized, page, root, run, session};

/// By line, and out of functions, as the buttons of an editor have it: not by instruction.
#[test]
fn reverse_commands_go_by_lines_and_functions() {
    let _lock = lock();
    let commands = "break bench::count_primes\ncontinue\nnext\nreverse-next\n\
        watch bench::SIEVE[16]\ncontinue\nwhen\nreverse-continue\ndelete\nreverse-finish\nstep\nreverse-step\n\
        next\nwho eax\nlast-write &bench::SIEVE[16]\ngoto start\nlast-write &bench::SIEVE[16] 4\ngoto end\n\
        reverse-next\ngoto 100\nkill\n";
    let Session { stdout, stderr, .. } = session("bench", PRIMES_BELOW_32, "", commands);
    // The lines of the program, as gdb shows them.
    let source = |text: &str| {
        let number = line("bench", text);
        let program = fs::read_to_string(root().join("guest/src/bin/bench.rs")).expect("it is there");
        format!("{number}\t{}", program.lines().nth(number - 1).expect("the line is there"))
    };
    let function = |name: &str, text: &str| {
        let (arguments, source) = match name {
            "compute" => ("what=112, count=32", source(text)),
            _ => ("composite=..., round=1", source(text)),
        };
        format!("bench::{name} ({arguments}) at src/bin/bench.rs:{}\n{source}\n", line("bench", text))
    };
    let changed = |old: u8, new: u8| {
        let name = "\nHardware watchpoint 3: bench::SIEVE[16]\n\n";
        format!("{name}Old value = {old}\nNew value = {new}\n")
    };
    let begin = function("count_primes", "let mut count = 0;");
    let call = source("_ => count_primes");
    let expected = [
        format!("Breakpoint 2, {begin}{}\n\nBreakpoint 2, {begin}", source("for number in 2..")),
        "Hardware watchpoint 3: bench::SIEVE[16]\n".to_owned(),
        changed(0, 1) + &function("count_primes", "multiple += number;"),
        changed(1, 0) + "0x? in " + &function("count_primes", "composite[multiple] = round;"),
        "0x? in ".to_owned() + &function("compute", "_ => count_primes") + &begin,
        "0x? in ".to_owned() + &function("compute", "_ => count_primes"),
        source("println!") + "\n#0  0x? in _start ()\n#0  " + &function("compute", "println!"),
        format!("0x?\t{call}\n#0  0x? in {}", function("compute", "let numbers = unsafe")),
    ];
    let stdout = normalized(&stdout);
    assert!(stdout.contains(&expected.concat()), "{stdout}\ndoes not contain\n{}{stderr}", expected.concat());

    let answers: Vec<String> = normalized(&stderr)
        .lines()
        .filter(|line| line.starts_with("after ") || line.starts_with("the ") || line.starts_with("nothing "))
        .map(|line| {
            let words = line.split(' ');
            words
                .map(|word| if word.trim_end_matches('`').parse::<u64>().is_ok() { "N" } else { word })
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect();
    assert_eq!(
        answers,
        [
            "after N instructions, in the present: from N to N",
            "the instruction at 0x? wrote eax, N instructions ago: `info symbol 0x?` names it, \
             `monitor goto N goes there",
            "the instruction at 0x? wrote there, N instructions ago: `info symbol 0x?` names it, \
             `monitor goto N goes there",
            "after N instructions, in the past: from N to N",
            "nothing wrote there in this past: it begins after N instructions",
            "after N instructions, in the present: from N to N",
            "after N instructions, in the past: from N to N",
        ]
    );
}

/// The commands of the documented sessions, each with the lines that gdb answers. `0x...` stands for an address.
fn documented_session(heading: &str) -> Vec<(String, Vec<String>)> {
    let text = page();
    let (_, section) = text.split_once(heading).expect("there is such a session");
    let (section, _) = section.split_once("\n## ").expect("it is not the last one");
    let mut session: Vec<(String, Vec<String>)> = Vec::new();
    for console in section.split("```console\n").skip(1) {
        let (lines, _) = console.split_once("```").expect("it ends");
        for line in lines.lines() {
            match (line.strip_prefix("(gdb) "), session.last_mut()) {
                (Some(command), _) => session.push((command.to_owned(), Vec::new())),
                (None, Some((_, answer))) if !console.starts_with("  origins") => {
                    answer.push(line.replace("0x...", "0x?"));
                }
                _ => {}
            }
        }
    }
    session
}

#[test]
fn the_documented_walk_back_from_a_corrupted_list() {
    let _lock = lock();
    let documented = documented_session("### A list that was corrupted");
    assert_eq!(documented.len(), 9);
    // Each answer has a mark behind it, to tell them apart.
    let commands: String =
        documented.iter().map(|(command, _)| format!("{command}\necho \\n--\\n\n")).collect();
    let names = b"Ada\nGrace Hopper\nBarbara\n";
    let Session { stdout, stderr, .. } = session("list", names, "", &commands);
    let parts: Vec<_> = stdout.split("\n--\n").collect();
    assert_eq!(parts.len(), documented.len() + 1, "{stdout}{stderr}");
    for ((command, answer), part) in documented.iter().zip(parts) {
        for line in answer {
            let is_there = part.lines().any(|other| {
                let with_numbers = line.contains("0x?");
                if with_numbers { is_alike(line, other) } else { other == line }
            });
            assert!(is_there, "{command}: {line:?} is not in {part:?}");
        }
    }
}

/// Whether a line is this one, where `0x?` stands for any address.
fn is_alike(pattern: &str, line: &str) -> bool {
    let mut rest = line;
    for (index, part) in pattern.split("0x?").enumerate() {
        if index > 0 {
            let Some(digits) = rest.strip_prefix("0x") else { return false };
            rest = digits.trim_start_matches(|digit: char| digit.is_ascii_hexdigit());
        }
        let Some(behind) = rest.strip_prefix(part) else { return false };
        rest = behind;
    }
    rest.is_empty()
}

/// A line about origins without the number of instructions, which depends on the compiler.
fn without_counts(line: &str) -> String {
    let Some(rest) = line.strip_suffix(" instructions before") else { return line.to_owned() };
    rest.trim_end_matches(|digit: char| digit.is_ascii_digit()).to_owned()
}

/// The same without a debugger.
#[test]
fn the_documented_origins_of_a_corrupted_link() {
    let _lock = lock();
    let text = page();
    let documented: Vec<_> = text
        .lines()
        .skip_while(|line| !line.starts_with("  origins "))
        .take_while(|line| line.starts_with("  "))
        .filter(|line| line.trim() != "...")
        .map(|line| without_counts(&line.trim_end().replace("0x...", "0x?")))
        .collect();
    assert_eq!(documented.len(), 4);
    let mut command = Command::new("bash");
    let script = format!("{} run list --track-origins <\"$1\"", env!("CARGO_BIN_EXE_xtask"));
    command.args(["-c", &script, "bash"]).arg(file("names", b"Ada\nGrace Hopper\nBarbara\n"));
    let Session { status, stdout, stderr } = run(&mut command);
    assert_eq!((status, &*stdout), (Some(134), "Barbara\nGrace Ho\n"));
    for line in documented {
        let is_there = stderr.lines().any(|other| is_alike(&line, &without_counts(other)));
        assert!(is_there, "{line:?} is not in {stderr}");
    }
}
