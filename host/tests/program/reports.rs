//! The effects of `--backtrace` and `--report`. `tests/reports` tests the reports themselves.

use std::collections::BTreeSet;

use flatland::EngineChoice;
use serde_json::Value;

use super::*;

const FORM: &str = include_str!("../../../docs/report.md");

on_each_engine! {
    a_report_for_programs_is_one_object,
    each_end_has_its_name,
    a_backtrace_is_shown_when_asked_for,
}

/// Runs this code and returns the status and the JSON object.
fn report(engine: &str, test: &str, code: &[u8], options: &[&str]) -> (i32, Value) {
    let file = image(&format!("{test}-report"), b"of the last run");
    let output =
        flatland(engine).args(options).arg("--report").arg(&file).arg(image(test, code)).output().unwrap();
    let text = fs::read_to_string(&file).expect("there is a report");
    (output.status.code().expect("it was not killed"), serde_json::from_str(&text).expect("it is JSON"))
}

fn a_report_for_programs_is_one_object(engine: &str) {
    // 0: mov al, 'A'; 2: out 0xe9, al; 4: push 1; 6: xor ecx, ecx; 8: div ecx
    let code = [0xb0, b'A', 0xe6, 0xe9, 0x6a, 1, 0x31, 0xc9, 0xf7, 0xf1];
    let (status, report) = report(engine, "json", &code, &["--memory", "64K", "--backtrace=always"]);
    assert_eq!(status, 134);
    let message = "divide error (#DE) at 0x00000008: correct the instruction there, or handle the exception with an IDT \
                   of the guest's own";
    for (pointer, expected) in [
        ("/version", Value::from(1)),
        ("/engine", if engine == "auto" { "kvm" } else { engine }.into()),
        ("/move_count", 0.into()),
        ("/outcome", "fault".into()),
        ("/status", 134.into()),
        ("/message", message.into()),
        ("/notes", Value::Array(Vec::new())),
        ("/fault/kind", "exception".into()),
        ("/fault/words", "divide error (#DE)".into()),
        ("/fault/vector", 0.into()),
        ("/address", 8.into()),
        ("/exact", true.into()),
        ("/symbol", Value::Null),
        ("/instruction/text", "div ecx".into()),
        ("/instruction/bytes/1", 0xf1.into()),
        ("/registers/eax", 0x41.into()),
        ("/registers/esp", 0xfffc.into()),
        ("/stack/0", 1.into()),
        ("/backtrace/0/address", 8.into()),
        ("/backtrace_broken", Value::Null),
        ("/memory/ram", 0x1_0000.into()),
        // The word, and the exception's frame of three words.
        ("/memory/peak_stack", 16.into()),
        ("/exits/console out/port", 0xe9.into()),
        ("/exits/console out/bytes", 1.into()),
        ("/instructions", if engine == "soft" { 4.into() } else { Value::Null }),
    ] {
        assert_eq!(report.pointer(pointer), Some(&expected), "{pointer} of {report:#}");
    }
    let seconds = |of: &str| report["seconds"][of].as_f64().expect("it is a number");
    assert!(0.0 < seconds("run") && seconds("run") < seconds("total"), "{report:#}");

    let mut keys = BTreeSet::new();
    collect(&report, "", &mut keys);
    keys.extend(keys_of_a_run_that_moves().into_iter().filter(|key| key.starts_with("moves[]")));
    // `div ecx` was preceded by `xor ecx, ecx`.
    let (_, origins) = self::report("auto", "json-origins", &code, &["--track-origins"]);
    assert_eq!(
        (&origins["origins"][0]["of"], &origins["origins"][0]["value"], &origins["origins"][0]["how"]),
        (&"ecx".into(), &0.into(), &"made".into())
    );
    assert_eq!(origins["origins"][0]["instruction"]["text"], "xor ecx, ecx");
    assert_eq!(origins["origins"][0]["instructions_before"], 1);
    collect(&origins, "", &mut keys);
    collect(&report_of_a_page_fault(), "", &mut keys);
    assert_eq!(keys, documented());
}

/// The report on a write to a page that is read-only, on the soft engine.
fn report_of_a_page_fault() -> Value {
    // 0: mov eax, 0x1000; 5: mov cr3, eax; 8: mov eax, cr0; b: or eax, 0x80010000; 10: mov cr0, eax; 13: mov [0x3004], al
    let mut code =
        vec![0xb8, 0, 0x10, 0, 0, 0x0f, 0x22, 0xd8, 0x0f, 0x20, 0xc0, 0x0d, 0, 0, 1, 0x80, 0x0f, 0x22, 0xc0];
    code.extend([0xa2, 4, 0x30, 0, 0]);
    code.resize(0x3000, 0);
    for (address, entry) in [(0x1000, 0x2003_u32), (0x2000, 0x0003), (0x200c, 0x5001)] {
        code[address..address + 4].copy_from_slice(&entry.to_le_bytes());
    }
    let (status, report) = report("soft", "page-fault", &code, &[]);
    assert_eq!(status, 134);
    let fault = &report["page_fault"];
    for (key, expected) in [
        ("/linear", Value::from(0x3004)),
        ("/physical", 0x5004.into()),
        ("/access", "write".into()),
        ("/is_user", false.into()),
        ("/refusal", "read-only".into()),
        ("/directory/address", 0x1000.into()),
        // It was used.
        ("/directory/value", 0x2023.into()),
        ("/table/address", 0x200c.into()),
        ("/table/value", 0x5001.into()),
    ] {
        assert_eq!(fault.pointer(key), Some(&expected), "{key} of {report:#}");
    }
    let output = flatland("soft").arg(image("page-fault", &code)).output().unwrap();
    let stderr = String::from_utf8(output.stderr).expect("it is text");
    let lines: Vec<_> = stderr.lines().collect();
    assert_eq!(
        lines[0],
        "flatland: page fault (#PF, write that the page does not allow) at 0x00000013: mend the pointer or the page tables, or \
         handle the exception with an IDT of the guest's own"
    );
    assert_eq!(
        lines[5..8],
        [
            "  page fault   write to 0x00003004, physical 0x00005004: the page is read-only",
            "               directory  [00001000] = 00002023 present writable accessed",
            "               table      [0000200c] = 00005001 present",
        ],
        "{stderr}"
    );
    report
}

/// The keys of `moves`.
fn keys_of_a_run_that_moves() -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    if !common::engines().contains(&EngineChoice::Kvm) {
        return documented();
    }
    // mov ecx, 100; out 0xe9, al; loop; hlt
    let code = [0xb9, 100, 0, 0, 0, 0xe6, 0xe9, 0xe2, 0xfc, 0xf4];
    let (status, report) = report("auto", "moves", &code, &[]);
    assert_eq!((status, &report["began_on"], &report["engine"]), (0, &"kvm".into(), &"soft".into()));
    assert_eq!((&report["move_count"], &report["moves"][0]["to"]), (&1.into(), &"soft".into()));
    assert_eq!(report["moves"][0]["why"], "it transfers more than it computes");
    collect(&report, "", &mut keys);
    keys
}

/// Collects the keys of an object as the documentation writes them. The keys of a fault are in a table of their own.
fn collect(value: &Value, prefix: &str, keys: &mut BTreeSet<String>) {
    let Value::Object(object) = value else { return };
    for (key, value) in object {
        let path = format!("{prefix}{key}");
        match (key.as_str(), value) {
            ("fault", _) => {}
            ("exits", Value::Object(ports)) if prefix.is_empty() => {
                ports.values().for_each(|port| collect(port, "exits{}.", keys));
            }
            (_, Value::Array(values)) => {
                values.iter().for_each(|value| collect(value, &format!("{path}[]."), keys))
            }
            (_, Value::Object(_)) => {
                collect(value, &format!("{path}."), keys);
                continue;
            }
            _ => {}
        }
        keys.insert(path);
    }
}

/// The keys in the first table of the documentation.
fn documented() -> BTreeSet<String> {
    let table = FORM.split("| key |").nth(1).expect("there is a table");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let cells = rows.filter_map(|row| row.split('|').nth(1));
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
}

#[test]
fn each_kind_of_fault_has_what_is_documented() {
    let table = FORM.split("| `kind` |").nth(1).expect("there is a table");
    let rows: Vec<_> = table.lines().skip(2).take_while(|line| line.starts_with('|')).collect();
    assert_eq!(rows.len(), 8);
    let symbols = image("kinds-elf", &elf::elf(&[protection::TEXT, protection::BSS]));
    let symbols = ["--symbols", symbols.to_str().unwrap()];
    for (kind, code, options) in [
        ("exception", &[0x0f, 0x0b][..], &[][..]),
        // 0: lidt [0x100]; 7: ud2
        ("triple-fault", &[0x0f, 0x01, 0x1d, 0, 1, 0, 0, 0x0f, 0x0b], &[]),
        ("outside-ram", &[0xa2, 0, 0, 0, 2], &[]),
        ("read-only", &[0xa2, 0, 0, 0, 0], &symbols),
        // 0: mov [0xdf0000], al
        ("guard", &[0xa2, 0, 0, 0xdf, 0], &symbols),
        // 0: call 0
        ("stack-overflow", &[0xe8, 0xfb, 0xff, 0xff, 0xff], &symbols),
        ("port", &[0xe6, 0x80], &[]),
        // 0: pshufb mm0, mm1
        ("unsupported", &[0x0f, 0x38, 0x00, 0xc1], &[]),
    ] {
        let (_, report) = report("soft", "kinds", code, options);
        let mut actual: BTreeSet<_> =
            report["fault"].as_object().expect("it is a fault").keys().cloned().collect();
        assert_eq!(report["fault"]["kind"], kind);
        assert!(actual.remove("kind") && actual.remove("words"));
        let row =
            rows.iter().find(|row| row.starts_with(&format!("| `{kind}` |"))).expect("it is documented");
        for key in &actual {
            assert!(row.contains(&format!("`{key}`")), "{key} of {kind} is not documented");
        }
        let values = ["read", "write", "execute", "in", "out"];
        let named = row.split('`').skip(3).step_by(2).filter(|word| !values.contains(word));
        assert_eq!(named.map(str::to_owned).collect::<BTreeSet<_>>(), actual, "{kind}");
    }
}

fn each_end_has_its_name(engine: &str) {
    for (name, status, code, options) in [
        ("halted", 0, HALT, &[][..]),
        ("end-of-input", 0, SUCCESSOR, &[]),
        // 0: mov al, 7; 2: out 0xf4, al
        ("exited", 7, &[0xb0, 7, 0xe6, 0xf4], &[]),
        ("exited", 101, &[0xb0, 101, 0xe6, 0xf4], &[]),
        ("fault", 134, SAY_AND_FAULT, &[]),
        ("time-limit", 124, SAY_AND_SPIN, &["--timeout", "0.1"]),
    ] {
        let (actual, report) = report(engine, name, code, options);
        assert_eq!((actual, &report["outcome"]), (status, &Value::from(name)));
        assert_eq!(report["status"], status);
        assert_eq!(report["message"].is_null(), status != 134 && status != 124, "{report:#}");
        assert!(FORM.contains(&format!("`{name}`")), "{name}");
    }
}

#[test]
fn ends_that_need_more() {
    let (status, limit) = report("soft", "limit", SAY_FOR_EVER, &["--max-instructions", "9"]);
    assert_eq!((status, &limit["outcome"]), (124, &Value::from("instruction-limit")));
    // Standard output is full.
    let file = image("host-error-report", b"");
    let script = format!("exec $flatland --report {} $image > /dev/full", file.display());
    let output = shell("soft", &script, &image("host-error", SAY_AND_ASK)).output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    let error: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!((&error["outcome"], &error["status"]), (&Value::from("host-error"), &Value::from(125)));
    assert!(error["message"].as_str().unwrap().starts_with("standard output is full"), "{error:#}");
    // A signal.
    let mut command = flatland("soft");
    let mut child = spawn(command.arg("--report").arg(&file).arg(image("signal", SAY_AND_SPIN)));
    assert_says(&mut child, b"A");
    signal(&child, Signal::SIGTERM);
    assert_eq!(child.wait().unwrap().code(), Some(143));
    let ended: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!((&ended["outcome"], &ended["status"]), (&Value::from("signal"), &Value::from(143)));
}

#[test]
fn a_report_that_cannot_be_written_is_told() {
    let message = "flatland: cannot write --report `/no/such/folder` (No such file or directory (os error 2)): give \
                   another place\n";
    assert_run("soft", "no-report", SAY_AND_FAULT, &["--report", "/no/such/folder"], 125, "", message);
    let message = "flatland: cannot write --report `/dev/full` (No space left on device (os error 28)): give another \
                   place\n";
    assert_run("soft", "full-report", HALT, &["--report", "/dev/full"], 125, "", message);
}

fn a_backtrace_is_shown_when_asked_for(engine: &str) {
    let stderr = |options: &[&str]| {
        let output = flatland(engine).args(options).arg(image("backtrace", SAY_AND_FAULT)).output().unwrap();
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(stderr(&["--backtrace", "always"]).ends_with("  backtrace\n   0: 0x00000004 - <unknown>\n"));
    for options in [&[][..], &["--backtrace", "auto"], &["--backtrace=never"]] {
        assert!(stderr(options).ends_with("  stack        01000000  (no memory)\n"), "{options:?}");
    }
}
