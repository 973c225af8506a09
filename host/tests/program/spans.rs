//! The guest's own spans: what a trace makes of whatever is sent to port 0xf6.

use super::traces::TRACKS;
use super::*;

on_each_engine! {
    spans_are_nested,
    spans_for_programs_are_objects,
    a_guest_that_nobody_listens_to_asks_once_and_sends_nothing,
    spans_of_a_part,
    names_may_be_anything,
    spans_may_end_too_often_or_never,
    spans_have_a_bound,
    no_span_is_told_of,
    a_recording_has_the_spans_whoever_looks_on,
    a_saved_run_has_its_spans_when_it_goes_on,
}

/// Asks whether somebody listens, and if so sends each of these by an instruction of its own. Then it ends with `last`.
fn sends(parts: &[&[u8]], last: &[u8]) -> Vec<u8> {
    // mov dx, 0xf6; in al, dx; test al, al; jz PARTS
    let mut code = b"\x66\xba\xf6\0\xec\x84\xc0\x0f\x84".to_vec();
    code.extend_from_slice(&(12 * parts.len() as u32).to_le_bytes());
    let mut at = code.len() + 12 * parts.len() + last.len();
    for part in parts {
        // mov esi, PART; mov ecx, LEN; rep outsb
        code.extend(
            [&[0xbe][..], &(at as u32).to_le_bytes(), &[0xb9], &(part.len() as u32).to_le_bytes()].concat(),
        );
        code.extend([0xf3, 0x6e]);
        at += part.len();
    }
    [code, last.to_vec(), parts.concat()].concat()
}

/// Two spans, one in the other, and one that its end leaves open.
const NESTED: &[&[u8]] = &[b"parse\0", b"to", b"ken\0", b"\0", b"\0", b"run\0"];

/// What is traced, without `trace: ` in front of each line, and the outputs of the guest.
fn spans(engine: &str, code: &[u8], options: &[&str]) -> (String, Output) {
    let output = flatland(engine).args(options).arg(image("spans", code)).output().expect("flatland starts");
    let text = String::from_utf8(output.stderr.clone()).expect("a trace is text");
    (text.lines().map(|line| format!("{}\n", line.strip_prefix("trace: ").unwrap_or(line))).collect(), output)
}

#[track_caller]
fn assert_spans(engine: &str, parts: &[&[u8]], options: &[&str], lines: &[&str]) {
    let (traced, output) = spans(engine, &sends(parts, HALT), &[&["--trace", "spans"], options].concat());
    assert_eq!(traced, lines.iter().map(|line| format!("{line}\n")).collect::<String>());
    assert_eq!(output.status.code(), Some(0));
}

fn spans_are_nested(engine: &str) {
    assert_spans(engine, NESTED, &[], &["[ parse", "  [ token", "  ] token", "] parse", "[ run", "end: hlt"]);
}

/// What a trace into a file with this extension is.
fn to_file(engine: &str, code: &[u8], extension: &str) -> String {
    let file = image("spans", b"").with_extension(extension);
    spans(engine, code, &["--trace", "spans", "--trace-file", file.to_str().expect("it is text")]);
    fs::read_to_string(file).expect("it was written")
}

fn spans_for_programs_are_objects(engine: &str) {
    let objects = to_file(engine, &sends(NESTED, HALT), "jsonl");
    let expected = [
        (r#""kind":"span-begin","name":"parse","symbol":null,"file":null,"line":null"#, 7),
        (r#""kind":"span-begin","name":"token","symbol":null,"file":null,"line":null"#, 13),
        (r#""kind":"span-end","name":"token""#, 16),
        (r#""kind":"span-end","name":"parse""#, 19),
        (r#""kind":"span-begin","name":"run","symbol":null,"file":null,"line":null"#, 22),
        (r#""kind":"end","message":"hlt""#, 23),
    ];
    // What began on KVM is not counted, wherever it is.
    let count = |count: u32| if engine == "soft" { count.to_string() } else { "null".into() };
    let expected = expected.map(|(object, at)| format!("{{{object},\"instructions\":{}}}\n", count(at)));
    assert_eq!(objects, expected.concat());
}

#[test]
fn a_timeline_has_spans_on_a_track_of_their_own() {
    // ud2: what is open ends with the run.
    let events = to_file("auto", &sends(NESTED, &[0x0f, 0x0b]), "json");
    let bar = |name: &str, phase: &str, count: u32| {
        let arguments = if phase == "B" { r#""place":"""# } else { "" };
        format!(r#"{{"name":"{name}","ph":"{phase}","ts":{count},"pid":1,"tid":2,"args":{{{arguments}}}}}"#)
    };
    let expected = [
        bar("parse", "B", 7),
        bar("token", "B", 13),
        bar("token", "E", 16),
        bar("parse", "E", 19),
        bar("run", "B", 22),
        r#"{"name":"end: invalid opcode (#UD) at 0x00000055","ph":"i","ts":22,"pid":1,"tid":1,"args":{},"s":"t"}"#
            .into(),
        bar("", "E", 22),
    ];
    assert_eq!(events, format!("[\n{TRACKS}{}\n]\n", expected.join(",\n")));
}

fn a_guest_that_nobody_listens_to_asks_once_and_sends_nothing(engine: &str) {
    let (traced, output) = spans(engine, &sends(NESTED, HALT), &["--trace", "io"]);
    assert_eq!(traced, "in  span        \"\\x00\" 00  at 0x00000004\nend: hlt\n");
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(0), &b""[..]));
    // Beside a trace of spans it sends them.
    let (traced, _) = spans(engine, &sends(&[b"a\0"], HALT), &["--trace", "spans,io"]);
    let lines = [
        "in  span        \"\\x01\" 01  at 0x00000004",
        "out span        \"a\\x00\" 61 00  at 0x00000017",
        "[ a",
        "end: hlt\n",
    ];
    assert_eq!(traced, lines.join("\n"));
}

fn spans_of_a_part(engine: &str) {
    // That of the first and the last instruction that sends.
    let lines = ["[ parse", "] parse", "end: hlt"];
    assert_spans(engine, NESTED, &["--trace-filter", "0x17-0x18"], &lines);
    let lines = ["[ parse", "... behind 1 lines: give it more with --trace-limit LINES"];
    assert_spans(engine, NESTED, &["--trace-limit", "1"], &lines);
    let lines = [
        "nothing was where --trace-filter says: give part of a function's name, or addresses such as 0x100-0x200",
        "end: hlt",
    ];
    assert_spans(engine, NESTED, &["--trace-filter", "nobody"], &lines);
}

fn names_may_be_anything(engine: &str) {
    let (longest, longer) = (["n"; 64].concat(), ["n"; 5000].concat());
    let parts = [longest.as_bytes(), b"\0", longer.as_bytes(), b"\0", b"\x1b[31m\n\r\t\x7f\0"];
    let others =
        ["\u{202e}\u{2028}\0".as_bytes(), b"\xff\xc3\0", "\"Gr\u{fc}\u{df}e\"\\\0".as_bytes(), b" \0"];
    let lines = [
        format!("[ {longest}"),
        format!("  [ {longest}..."),
        "    [ \u{fffd}[31m\u{fffd}\u{fffd}\u{fffd}\u{fffd}".into(),
        "      [ \u{fffd}\u{fffd}".into(),
        "        [ \u{fffd}\u{fffd}".into(),
        "          [ \"Gr\u{fc}\u{df}e\"\\".into(),
        "            [".into(),
        "end: hlt".into(),
    ];
    let parts = [&parts[..], &others].concat();
    assert_spans(engine, &parts, &[], &lines.each_ref().map(|line| &line[..]));
    let objects = to_file(engine, &sends(&parts, HALT), "jsonl");
    for name in [r#""\"Grüße\"\\""#, r#""�[31m����""#, "\" \""] {
        assert!(objects.contains(&format!("\"name\":{name},")), "{objects}");
    }
}

fn spans_may_end_too_often_or_never(engine: &str) {
    let parts: &[&[u8]] = &[b"\0", b"\0\0a\0b\0\0\0\0\0c\0", b"without an end"];
    assert_spans(engine, parts, &[], &["[ a", "  [ b", "  ] b", "] a", "[ c", "end: hlt"]);
    let events = to_file("auto", &sends(parts, HALT), "json");
    let phases = |phase: &str| events.matches(&format!("\"ph\":\"{phase}\"")).count();
    assert_eq!((phases("B"), phases("E")), (3, 3), "{events}");
}

fn spans_have_a_bound(engine: &str) {
    let begin = b"x\0".repeat(300);
    // 44 of them are too deep; behind their ends the next one is shown again, inside of 255.
    let parts: &[&[u8]] = &[&begin, &[0; 44], b"\0", b"y\0", b"z\0", b"\0"];
    let mut lines: Vec<_> = (0..256).map(|depth| "  ".repeat(depth) + "[ x").collect();
    lines.push("spans inside of 256 others are left out: end them, or begin fewer".into());
    lines.push("  ".repeat(255) + "] x");
    lines.push("  ".repeat(255) + "[ y");
    lines.push("end: hlt".into());
    assert_spans(engine, parts, &[], &lines.iter().map(|line| &line[..]).collect::<Vec<_>>());
}

fn no_span_is_told_of(engine: &str) {
    let line = "no span began: in the guest, flatland_guest::span!(\"name\") begins one";
    assert_spans(engine, &[b"\0"], &[], &[line, "end: hlt"]);
}

fn a_recording_has_the_spans_whoever_looks_on(engine: &str) {
    let code = sends(NESTED, HALT);
    let alone = recording_file("spans-alone");
    let (traced, _) = spans(engine, &code, &["--record", alone.to_str().expect("it is text")]);
    assert_eq!(traced, "");
    let output = replay(&alone, &["--trace", "spans"]);
    let traced =
        "trace: [ parse\ntrace:   [ token\ntrace:   ] token\ntrace: ] parse\ntrace: [ run\ntrace: end: hlt\n";
    assert_ended(output, 0, "", traced);
    assert_ended(replay(&alone, &[]), 0, "", "");
    let traced = recording_file("spans-traced");
    spans(engine, &code, &["--trace", "spans", "--record", traced.to_str().expect("it is text")]);
    // The path of the image is in it.
    let digest = |file| {
        let info =
            Command::new(env!("CARGO_BIN_EXE_flatland")).arg("info").arg(file).output().expect("it starts");
        let info = String::from_utf8(info.stdout).expect("it is text");
        info.lines().find(|line| line.starts_with("digest")).expect("there is one").to_owned()
    };
    assert_eq!(digest(&traced), digest(&alone));
}

fn a_saved_run_has_its_spans_when_it_goes_on(engine: &str) {
    // mov dx, 0xf6; in al, dx; mov bl, al; in al, 0xe9; test bl, bl; jz HLT. Here input ends, and the answer is known.
    let asks = b"\x66\xba\xf6\0\xec\x88\xc3\xe4\xe9\x84\xdb\x74\x08";
    // mov al, 'b'; out dx, al; mov al, 0; out dx, al; out dx, al; out dx, al; hlt. It ends one more than has begun.
    let code = [&asks[..], b"\xb0b\xee\xb0\0\xee\xee\xee\xf4"].concat();
    let snapshot = image("spans", b"").with_extension("snap");
    spans(engine, &code, &["--save-snapshot", snapshot.to_str().expect("it is text")]);
    let mut child = spawn(flatland(engine).args(["--trace", "spans", "--from-snapshot"]).arg(snapshot));
    child.stdin.take().expect("it is piped").write_all(b"x").expect("it is read");
    let output = child.wait_with_output().expect("it ends");
    assert_ended(output, 0, "", "trace: [ b\ntrace: ] b\ntrace: end: hlt\n");
}
