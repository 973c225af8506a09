//! `--profile`: where the instructions of a run went.

use super::*;

/// 00: mov ecx, 1000; 05: call 0e; 0a: dec ecx; 0b: jnz 05; 0d: hlt; 0e: inc eax; 0f: ret
const CALLS: &[u8] = &[0xb9, 0xe8, 3, 0, 0, 0xe8, 4, 0, 0, 0, 0x49, 0x75, 0xf8, 0xf4, 0x40, 0xc3];

fn new_file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// Runs this code with a profile, and returns what went to standard error, and the profile.
#[track_caller]
fn profiled(code: &[u8], name: &str, status: i32) -> (String, String) {
    let path = new_file(name);
    let mut command = program();
    let output = command.arg("--profile").arg(&path).arg(image("profile", code)).output().expect("it starts");
    let stderr = String::from_utf8(output.stderr).expect("it is text");
    assert_eq!(output.status.code(), Some(status), "{stderr}");
    let stderr = stderr.replace(&path.display().to_string(), "FILE");
    (stderr, fs::read_to_string(path).expect("it was written"))
}

#[test]
fn the_hottest_functions_and_folded_stacks() {
    let (stderr, folded) = profiled(CALLS, "calls.folded", 0);
    let expected = "\
flatland: profile: 5,002 instructions, written to FILE
              instructions            with its calls  function
              3,002  60.0%              5,002 100.0%  0x00000000
              2,000  40.0%              2,000  40.0%  0x0000000e
";
    assert_eq!(stderr, expected);
    assert_eq!(folded, "0x00000000 3002\n0x00000000;0x0000000e 2000\n");
}

#[test]
fn a_flame_graph_shows_each_function_without_its_script() {
    let (_, svg) = profiled(CALLS, "calls.svg", 0);
    let boxes: Vec<_> = svg.lines().filter(|line| line.starts_with("<g class=\"box\">")).collect();
    assert_eq!(
        boxes,
        [
            "<g class=\"box\"><title>all (5,002 instructions, 100.0%)</title><rect x=\"10.00\" y=\"80\" \
             width=\"1180.00\" height=\"16\" fill=\"#d9d9d9\"/><text x=\"13.00\" y=\"92\">all</text></g>",
            "<g class=\"box\"><title>0x00000000 (5,002 instructions, 100.0%)</title><rect x=\"10.00\" y=\"63\" \
             width=\"1180.00\" height=\"16\" fill=\"#ed8b64\"/><text x=\"13.00\" y=\"75\">0x00000000</text></g>",
            "<g class=\"box\"><title>0x0000000e (2,000 instructions, 40.0%)</title><rect x=\"10.00\" y=\"46\" \
             width=\"471.81\" height=\"16\" fill=\"#f58b6e\"/><text x=\"13.00\" y=\"58\">0x0000000e</text></g>"
        ],
        "{svg}"
    );
}

#[test]
fn a_profile_for_firefox_has_all_instructions() {
    let (_, json) = profiled(CALLS, "calls.json", 0);
    let profile: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
    let thread = &profile["threads"][0];
    assert_eq!(thread["samples"]["weight"], serde_json::json!([3002, 2000]));
    assert_eq!(thread["samples"]["stack"], serde_json::json!([0, 1]));
    assert_eq!(thread["stackTable"]["prefix"], serde_json::json!([null, 0]));
    assert_eq!(thread["stringArray"], serde_json::json!(["0x00000000", "0x0000000e"]));
}

#[test]
fn a_run_that_fails_has_a_profile_behind_its_report() {
    // 00: inc eax; 01: ud2
    let (stderr, folded) = profiled(&[0x40, 0x0f, 0x0b], "fails.folded", 134);
    assert_eq!(folded, "0x00000000 1\n");
    let lines: Vec<_> = stderr.lines().filter(|line| line.starts_with("flatland:")).collect();
    assert_eq!(lines[0], format!("flatland: invalid opcode (#UD) at 0x00000001: {EXCEPTION}"));
    assert_eq!(lines[1..], ["flatland: profile: 1 instructions, written to FILE"]);
}

#[test]
fn a_replay_has_the_profile_of_its_run() {
    let recording = new_file("profiled.rec");
    let mut run = program();
    let recorded = run.arg("--record").arg(&recording).arg(image("profile", CALLS)).output().unwrap();
    assert_eq!(recorded.status.code(), Some(0));
    let path = new_file("replayed.folded");
    let mut replay = program();
    let output = replay.arg("--profile").arg(&path).arg("replay").arg(&recording).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(fs::read_to_string(path).unwrap(), "0x00000000 3002\n0x00000000;0x0000000e 2000\n");
}

#[test]
fn what_cannot_be_profiled_is_said_before_the_run() {
    let cases = [
        (
            &["--profile", "out.txt"][..],
            2,
            "--profile `out.txt` is no profile by its name: end it with .svg (a flame graph), .folded (folded stacks) \
             or .json (Firefox's profiler); `flatland --help` lists what there is",
        ),
        (
            &["--profile", "out.svg", "--coverage"],
            2,
            "--coverage and --profile look at a run in turn: record it with --record FILE, and then give them to two \
             runs of `flatland replay FILE`; `flatland --help` lists what there is",
        ),
        (
            &["--profile", "/nowhere/out.svg"],
            125,
            "cannot write --profile `/nowhere/out.svg` (No such file or directory (os error 2)): give another place",
        ),
    ];
    for (options, status, message) in cases {
        let mut command = program();
        let output = command.args(options).arg(image("profile", SAY_AND_SPIN)).output().unwrap();
        assert_ended(output, status, "", &format!("flatland: {message}\n"));
    }
}

#[test]
fn a_profile_on_kvm_samples() {
    // 00: inc eax; 01: jmp 00
    let path = new_file("sampled.folded");
    let mut command = flatland("kvm");
    command.args(["--timeout", "0.5", "--profile"]).arg(&path).arg(image("profile", &[0x40, 0xeb, 0xfd]));
    let output = command.output().expect("flatland starts");
    let stderr = String::from_utf8(output.stderr).expect("it is text");
    assert_eq!(output.status.code(), Some(124), "{stderr}");
    // No function has a name, so each address stands for itself.
    let mut samples = 0;
    for line in fs::read_to_string(&path).expect("it was written").lines() {
        let (place, count) = line.split_once(' ').expect("it has a count");
        assert!(["0x00000000", "0x00000001"].contains(&place), "{line}");
        samples += count.parse::<u32>().expect("it is a count");
    }
    // Of 200, if nobody else needs the processor.
    assert!((5..=400).contains(&samples), "{samples}");
    let message = format!("flatland: profile: {samples} samples, written to {}\n", path.display());
    assert!(stderr.contains(&message), "{message}{stderr}");
}
