//! The traces of the guest programs: the same on every engine, line by line.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{built, root, run};

/// Each program, with arguments and input that exercise most of it.
const RUNS: &[(&str, &[&str], &[u8])] = &[
    ("answer", &[], b"HAL*"),
    ("bench", &[], &[b'p', 10]),
    ("bench", &[], b"r_copied"),
    ("calc", &[], b"1 + 2 * (3 - 4) / 5\n1/0\n)\n"),
    ("cat", &[], &[b'*'; 5000]),
    ("echo", &["one", "two"], b"three\nfour"),
    ("fault", &["divide"], b""),
    ("fault", &["write"], b""),
    ("fault", &["port"], b""),
    ("handler", &[], b""),
    ("hello", &[], b"world\n"),
    ("inflate", &[], b"\x78\x9c\xf3\x48\xcd\xc9\xc9\xd7\x51\xf0\x40\xa2\x14\x01\x46\x3e\x06\x96"),
    ("life", &["2"], b".#.\n.#.\n.#.\n"),
    ("list", &[], b"Ada\nGrace Hopper\nBarbara\n"),
    ("misuse", &["allocate"], b""),
    ("misuse", &["middle"], b""),
    ("nbody", &["3"], b""),
    ("nbody-hard", &["3"], b""),
    ("nested", &[], b"nested"),
    ("paging", &[], b""),
    ("panic", &[], b"*"),
    ("planted", &[], b"\x03\xa0\x01"),
    ("preemptive", &[], b""),
    ("sha256", &[], b"abc"),
    ("shout", &[], b"Do not panic"),
    ("user", &[], b""),
    ("wasm", &["add", "1", "2"], WASM),
];

/// Those that a KVM that emulates cannot run.
const OF_SYSTEMS: [&str; 4] = ["handler", "nbody-hard", "paging", "user"];

/// A timer interrupts it, which follows the clock on KVM.
const BY_THE_CLOCK: &str = "preemptive";

/// (func (export "add") (param i32 i32) (result i32) local.get 0 local.get 1 i32.add)
const WASM: &[u8] = b"\0asm\x01\0\0\0\x01\x07\x01\x60\x02\x7f\x7f\x01\x7f\x03\x02\x01\0\
                      \x07\x07\x01\x03add\0\0\x0a\x09\x01\x07\0\x20\0\x20\x01\x6a\x0b";

/// The kinds of traces, and the number of lines of each. A KVM that emulates takes 20 us for a step, and there are
/// many steps between two calls.
const KINDS: [(&str, &str); 4] =
    [("io", "1000"), ("calls", "100"), ("insn", "2000"), ("io,calls,insn", "2000")];

#[test]
fn traces_are_the_same_on_every_engine() {
    if std::env::var_os("FLATLAND_TEST_WITHOUT_KVM").is_some() {
        return;
    }
    let mut lines = 0;
    for (program, arguments, input) in RUNS.iter().filter(|(program, ..)| *program != BY_THE_CLOCK) {
        for (kinds, limit) in KINDS {
            let [soft, kvm, auto] =
                ["soft", "kvm", "auto"].map(|engine| trace(engine, kinds, limit, program, arguments, input));
            for (engine, other) in [("kvm", kvm), ("auto", auto)] {
                let differs = soft.lines().zip(other.lines()).find(|(soft, other)| soft != other);
                let asked = format!("{kinds} of {program} {arguments:?} on {engine}");
                let is_emulated =
                    other.lines().last().is_some_and(|line| line.contains("KVM cannot run here"));
                if engine == "kvm" && is_emulated && OF_SYSTEMS.contains(program) {
                    continue;
                }
                assert_eq!(differs, None, "{asked}");
                assert_eq!(soft.lines().count(), other.lines().count(), "{asked}");
            }
            lines += soft.lines().count();
        }
    }
    assert!(lines > 50_000, "{lines}");
}

#[test]
fn the_runtime_names_the_phases_of_wasm() {
    for engine in super::engines().iter().map(|on| if *on == super::On::Soft { "soft" } else { "kvm" }) {
        let arguments = &["add", "1", "2"];
        let traced = trace(engine, "spans", "100", "wasm", arguments, WASM);
        let places: Vec<_> =
            traced.lines().map(|line| line.rsplit_once(':').map_or(line, |(place, _)| place)).collect();
        let begin = |name: &str| format!("[ {name}  in wasm::run (src/bin/wasm/main.rs");
        let expected = [&begin("load"), "] load", &begin("link"), "] link", &begin("call"), "] call", "end"];
        assert_eq!(places, expected, "{engine}");
        // Nobody listens: it asks once.
        let traced = trace(engine, "io", "100", "wasm", arguments, WASM);
        let asked: Vec<_> = traced.lines().filter(|line| line[4..].starts_with("span ")).collect();
        assert!(
            matches!(&asked[..], [line] if line.starts_with("in  span        \"\\x00\" 00  at ")),
            "{traced}"
        );
    }
}

/// [`RUNS`] has all programs.
#[test]
fn every_program_is_traced() {
    let listed = run(Command::new(env!("CARGO_BIN_EXE_xtask")).arg("list").current_dir(root()), b"");
    let listed = String::from_utf8(listed.stdout).expect("names are UTF-8");
    for name in listed.lines().filter_map(|line| line.split(' ').next()) {
        assert!(RUNS.iter().any(|(program, ..)| *program == name), "nothing traces {name}");
    }
}

fn trace(engine: &str, kinds: &str, limit: &str, program: &str, arguments: &[&str], input: &[u8]) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    // Several tests trace at once.
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{number}.trace"));
    let mut command = Command::new(built("release/flatland"));
    command.args(["--engine", engine, "--clock", "0", "--seed", "1", "--timeout", "60", "--trace", kinds]);
    command.args(["--trace-limit", limit, "--trace-file"]).arg(&file);
    command.arg("--symbols").arg(built(&format!("guest/{program}.elf")));
    command.arg(built(&format!("guest/{program}.bin"))).arg("--").args(arguments);
    let output = run(command.current_dir(root()), input);
    let stderr = String::from_utf8_lossy(&output.stderr);
    let trace = fs::read_to_string(&file).unwrap_or_else(|error| panic!("no trace ({error}): {stderr}"));
    fs::remove_file(file).expect("it was just read");
    trace
}
