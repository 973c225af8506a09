//! What is written of tests, beside what libtest itself writes of the same tests on this machine.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use crate::{ELSEWHERE, command, flatland, run, text};

const TESTS: &str = include_str!("formats.guest.rs");

pub fn formats_are_libtests() {
    let native = native();
    let head = "#![no_std]\n#![no_main]\nuse flatland_guest::prelude::*;\nuse flatland_guest::test;\n";
    let source = ELSEWHERE.join("tests/formats.rs");
    fs::write(&source, head.to_owned() + TESTS).unwrap();
    assert_eq!(flatland("test formats").status.code(), Some(101));
    for options in [
        "",
        "--quiet",
        "--skip panic --show-output",
        "--report-time",
        "--list",
        "--list --format terse",
        "--list --ignored",
        // What cargo-nextest asks for: all tests, those that are ignored, and each alone.
        "--list --format terse --ignored",
        "formats::says_much --nocapture --exact",
        "formats::is_ignored --nocapture --exact --ignored",
        "--format=terse --include-ignored",
        "--skip panic --skip error --nocapture",
        "--exact formats::says_much formats::says",
        "says_ --ignored",
        "--exclude-should-panic --fail-fast --logfile log",
        "--bench",
        "--format json",
        "--format json --list says_",
        "--format junit",
        "--format junit --skip panic --show-output",
    ] {
        let ours = run(&mut ours(options));
        let theirs = run(&mut native_command(&native, options));
        assert_eq!(ours.status.code(), theirs.status.code(), "{options}: {}", text(&ours.stderr));
        assert_eq!(parsed(&text(&ours.stdout), options), parsed(&text(&theirs.stdout), options), "{options}");
        let log = |folder: &Path| fs::read_to_string(folder.join("log")).ok();
        assert_eq!(log(&ELSEWHERE), log(native.parent().unwrap()), "{options}");
    }
    what_libtest_lacks();
    fs::remove_file(source).unwrap();
}

/// A failure leaves its recording in both formats for programs, JUnit has the ignored tests, and a seed is an order.
fn what_libtest_lacks() {
    let json = text(&flatland("test formats -- --format json error").stdout);
    let recording = "\"recording\": \"target/guest/failures/formats-returns_an_error.rec\"";
    let message = "\"message\": \"the test at tests/formats.rs:27 ended with status 1\"";
    assert!(json.contains(recording) && json.contains(message), "{json}");
    let junit = text(&flatland("test formats -- --format junit").stdout);
    for part in [
        "[[ATTACHMENT|target/guest/failures/formats-returns_an_error.rec]]\n</system-out>",
        "<failure message=\"the test at tests/formats.rs:27 ended with status 1\" type=\"assert\"/>",
        "<skipped message=\"for &quot;another&quot; time\"/></testcase>",
        "<skipped/></testcase>",
    ] {
        assert!(junit.contains(part), "{part}: {junit}");
    }
    let order = |seed: u32| {
        text(&flatland(&format!("test formats -- --list --format terse --shuffle-seed {seed}")).stdout)
    };
    assert_eq!(order(3), order(3));
    assert_ne!(order(3), order(4));
}

/// What cargo's runner does, with no other tests than these.
fn ours(options: &str) -> Command {
    let entries = fs::read_dir(ELSEWHERE.join("target/guest/cargo/i686-bare/debug/deps")).unwrap();
    let is_it = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with("formats-") && !name.contains('.')
    };
    let built = entries.map(|entry| entry.unwrap().path()).filter(is_it);
    // Others are of earlier versions of the runtime.
    let newest = built.max_by_key(|path| path.metadata().unwrap().modified().unwrap()).expect("it is built");
    let name = newest.file_name().unwrap().to_string_lossy();
    command(&format!("exec target/guest/cargo/i686-bare/debug/deps/{name} --test-threads=1 {options}"))
}

/// libtest's program with the tests.
fn native() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("formats");
    // It may be there from an earlier run.
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(folder.join("src")).unwrap();
    // libtest takes a test for a unit test by this folder's name.
    fs::write(folder.join("src/lib.rs"), format!("mod formats {{\n{TESTS}}}\n")).unwrap();
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut command = Command::new(rustc);
    command.args(["--test", "--edition", "2024", "-o", "native", "src/lib.rs"]).current_dir(&folder);
    let compiled = run(&mut command);
    assert!(compiled.status.success(), "{}", text(&compiled.stderr));
    folder.join("native")
}

fn native_command(native: &Path, options: &str) -> Command {
    let mut command = Command::new(native);
    command.args(["-Zunstable-options", "--test-threads=1"]).args(options.split_whitespace());
    // For the options that are unstable there.
    command.env("RUSTC_BOOTSTRAP", "1").current_dir(native.parent().unwrap());
    command
}

/// What is to be the same: all but times, what a failure says of the host, and what libtest lacks. Python reads the formats.
fn parsed(output: &str, options: &str) -> String {
    const READ: &str = r#"
import json, re, sys, xml.etree.ElementTree as tree
own = re.compile(r'(the test at|recorded:|\[\[ATTACHMENT).*\n')
text = sys.stdin.buffer.read().decode()
if 'json' in sys.argv[1]:
    for line in text.splitlines():
        line = json.loads(line)
        for key in 'exec_time', 'recording', 'source_path', 'start_line', 'start_col', 'end_line', 'end_col':
            line.pop(key, None)
        if line.get('event') == 'failed':
            line.pop('message', None)
        if 'stdout' in line:
            line['stdout'] = own.sub('', line['stdout'])
        print(json.dumps(line, sort_keys=True))
elif 'junit' in sys.argv[1]:
    for suite in tree.fromstring(text):
        print({key: value for key, value in suite.attrib.items() if key != 'time'})
        for case in suite.iter('testcase'):
            if case.find('skipped') is None:
                out = own.sub('', case.findtext('system-out', ''))
                print(case.get('classname'), case.get('name'), float(case.get('time')) < 60, [part.tag for part in case], [out])
else:
    text = re.sub(r'(finished in |<)[0-9.]+s', r'\1TIME', text)
    print(own.sub('', text))
"#;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("formats");
    let input = folder.join("output");
    fs::write(&input, output).unwrap();
    let mut command = Command::new("python3");
    command.args(["-c", READ, options]).stdin(fs::File::open(&input).unwrap());
    let read = command.output().expect("these tests need python3: install it with `apt install python3`");
    assert!(read.status.success(), "{options}: {}\n{output}", text(&read.stderr));
    text(&read.stdout)
}
