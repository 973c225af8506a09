//! `--coverage`: of a run, and of the guest's tests, against counts that are known.

mod common;
#[path = "common/lcov.rs"]
mod lcov;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

use common::{file, lock, root, run, succeed, text};
use serde_json::Value;

/// Runs `cargo xtask` with this input.
fn xtask(words: &[&str], input: &[u8]) -> Output {
    let _lock = lock();
    run(&mut common::xtask(words.iter().copied()), input)
}

/// The same with `--coverage` to this file or folder, which succeeds and says where to look.
#[track_caller]
fn covered(words: &[&str], to: &Path, input: &[u8]) -> Output {
    // A run writes it in the sandbox, too.
    let sandbox: &[&str] = if words[0] == "run" && cfg!(target_os = "linux") { &["--sandbox"] } else { &[] };
    let output = xtask(&[words, &[&format!("--coverage={}", to.display())], sandbox].concat(), input);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let to_open = if to.is_dir() { to.join("index.html") } else { to.into() };
    let end = format!(" lines, written to {}", to_open.display());
    let is_it = |line: &str| line.starts_with("flatland: coverage: ") && line.ends_with(&end);
    assert_eq!(said.lines().filter(|line| is_it(line)).count(), 1, "{said}");
    output
}

/// What is said of a file of the guest's crate.
fn file_of<'a>(coverage: &'a Value, name: &str) -> &'a Value {
    let files = coverage["files"].as_array().expect("there are files");
    files.iter().find(|file| file["file"] == name).expect("the file is among them")
}

/// The counts of the lines of a file of the guest's crate, by their numbers.
fn counts(coverage: &Value, name: &str) -> BTreeMap<u64, u64> {
    let number = |value: &Value| value.as_u64().expect("it is a number");
    let lines = file_of(coverage, name)["lines"].as_array().expect("there are lines");
    lines.iter().map(|line| (number(&line["line"]), number(&line["count"]))).collect()
}

/// The number of the first line of a file of the guest's crate that begins so.
fn line_of(name: &str, text: &str) -> u64 {
    let source = fs::read_to_string(root().join("guest").join(name)).expect("it is there");
    let begins = |line: &str| line.trim_start().starts_with(text);
    source.split_inclusive('\n').position(begins).expect("it is there") as u64 + 1
}

/// Checks how often lines were executed, by what they begin with. Lines that have no code are not counted.
#[track_caller]
fn assert_counts(counts: &BTreeMap<u64, u64>, name: &str, expected: &[(&str, Option<u64>)]) {
    for &(text, expected) in expected {
        let line = line_of(name, text);
        assert_eq!(counts.get(&line).copied(), expected, "line {line}: {text}");
    }
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("it was written")).expect("it is JSON")
}

const NAMES: &[u8] = b"Ada\nMary\nGrace\n";

/// How often lines of `list` are executed, with these names.
const LINES: [(&str, Option<u64>); 20] = [
    ("#[derive(Clone, Copy)]", None),
    ("struct Node", None),
    ("fn main()", Some(1)),
    ("let mut first", Some(1)),
    ("for line in", Some(4)),
    ("first = push", Some(3)),
    ("print(first)", Some(1)),
    ("Ok(())", Some(1)),
    ("fn push(", Some(3)),
    ("let node = Box", Some(3)),
    ("// SAFETY: the node", None),
    ("unsafe { copy(", Some(3)),
    ("unsafe fn copy", Some(3)),
    // Once more than there are bytes, for each name.
    ("for (index, byte)", Some(12 + 3)),
    ("unsafe { *to", Some(12)),
    ("fn print(", Some(1)),
    ("while !node", Some(4)),
    ("let Node { name, next } =", Some(3)),
    ("println!", Some(3)),
    ("node = next;", Some(3)),
];

#[test]
fn counts_of_a_run_are_exact() {
    let to = file("list.json");
    let output = covered(&["run", "list"], &to, NAMES);
    assert_eq!(output.stdout, b"Grace\nMary\nAda\n");
    assert!(text(&output.stderr).contains("src/bin/list.rs"), "{}", text(&output.stderr));
    let counts = counts(&json(&to), "src/bin/list.rs");
    assert_counts(&counts, "src/bin/list.rs", &LINES);

    // The same as LCOV: each line has its record.
    let to = file("list.info");
    covered(&["run", "list"], &to, NAMES);
    let text = fs::read_to_string(&to).expect("it was written");
    let record = text.split("end_of_record").find(|record| record.contains("src/bin/list.rs\n"));
    let record = record.expect("the file is among them");
    let lines: BTreeMap<u64, u64> =
        lcov::lines(record).into_iter().map(|((_, line), count)| (line.into(), count)).collect();
    assert_eq!(lines, counts);
    assert!(record.contains("FNDA:3,list::push\n"), "{record}");
    assert!(record.contains(&format!("LF:{}\n", counts.len())), "{record}");
}

/// How often lines of guest/tests/counts.rs are executed.
const COUNTS: [(&str, Option<u64>); 16] = [
    ("while number < 1_000_000", Some(1_000_001)),
    ("if black_box(number) == 777_777", Some(1_000_000)),
    ("rare += 1", Some(1)),
    ("number += 1", Some(1_000_000)),
    ("assert_eq!(rare, 1)", Some(1)),
    // The line has only the code of the panic, and is the assertion nevertheless.
    ("assert!(", Some(3)),
    ("black_box(number) < 4", Some(3)),
    ("\"{} is not less than", None),
    ("black_box(number),\n", Some(0)),
    ("black_box(4)", Some(0)),
    ("fn a_panic_has_several_lines", Some(1)),
    ("if black_box(number) == 2", Some(3)),
    ("panic!(", Some(1)),
    ("\"{}\"", None),
    ("black_box(number), // It is 2", Some(1)),
    ("#[should_panic]", None),
];

#[test]
fn counts_of_tests_are_exact() {
    let (to, name) = (file("counts.json"), "tests/counts.rs");
    covered(&["test", "--guest", "counts", "--coverage-all"], &to, b"");
    let coverage = json(&to);
    assert_counts(&counts(&coverage, name), name, &COUNTS);
    let line = line_of(name, "if black_box(number) == 777_777");
    let branches = file_of(&coverage, name)["branches"].as_array().expect("there are branches");
    let ways: Vec<_> = branches
        .iter()
        .filter(|branch| branch["line"] == line)
        .map(|branch| [branch["taken"].as_u64(), branch["not_taken"].as_u64()])
        .collect();
    let [mut ways] = ways.try_into().expect("the line has one conditional jump");
    ways.sort_unstable();
    assert_eq!(ways, [Some(1), Some(999_999)]);
}

#[test]
fn genhtml_has_no_complaint() {
    let genhtml = Command::new("genhtml").arg("--version").output();
    assert!(genhtml.is_ok(), "genhtml is not installed: install it with `apt-get install lcov`");
    let (lcov, pages) = (file("genhtml.info"), file("genhtml"));
    let _ = fs::remove_dir_all(&pages);
    covered(&["test", "--guest", "heap", "--coverage-all"], &lcov, b"");
    // What genhtml 2 complains of, too: functions of a file with the same name, and called ones whose line was not
    // executed.
    for record in fs::read_to_string(&lcov).expect("it was written").split("end_of_record\n") {
        let fields = |kind: &str| {
            let lines = record.lines().filter_map(|line| line.strip_prefix(kind)?.split_once(','));
            lines.map(|(one, other)| (one.to_owned(), other.to_owned())).collect::<Vec<_>>()
        };
        let (functions, calls) = (fields("FN:"), fields("FNDA:"));
        let lines: BTreeMap<_, _> = fields("DA:").into_iter().collect();
        let names: BTreeMap<_, _> = functions.iter().map(|(line, name)| (name, line)).collect();
        assert_eq!((names.len(), calls.len()), (functions.len(), functions.len()), "{record}");
        for (_, name) in calls.iter().filter(|(count, _)| count != "0") {
            assert_ne!(lines.get(names[name]).map(String::as_str), Some("0"), "{name}: {record}");
        }
    }
    let mut command = Command::new("genhtml");
    command.args(["--branch-coverage", "--output-directory"]).arg(&pages).arg(&lcov).env("LC_ALL", "C");
    let output = succeed(&mut command);
    // Its warnings go to standard error, as those of Perl.
    assert_eq!(text(&output.stderr), "", "{}", text(&output.stdout));
    assert!(pages.join("index.html").is_file());
}

#[test]
fn a_demand_that_is_not_met_has_its_own_status() {
    let demand = |least: &str| xtask(&["run", "list", "--coverage", "--coverage-min", least], NAMES);
    assert_eq!(demand("1").status.code(), Some(0));
    let output = demand("100");
    assert_eq!(output.status.code(), Some(123));
    let stderr = text(&output.stderr);
    let told = stderr.lines().last().expect("it says something");
    let (percent, rest) =
        told.strip_prefix("flatland: ").and_then(|told| told.split_once(" % ")).expect("it says how much");
    assert!(percent.parse::<f64>().is_ok_and(|percent| percent > 1.0 && percent < 100.0), "{told}");
    assert_eq!(
        rest,
        "of the lines were executed, and --coverage-min asks for 100 %: test what the table counts as missing, or ask \
         for less"
    );
    // The status of a failed run stays.
    let output = xtask(&["run", "list", "--coverage", "--coverage-min", "100"], b"Grace Hopper\nAda\n");
    assert_eq!(output.status.code(), Some(134));
}

#[test]
fn tests_in_the_guest_are_covered_together() {
    let (one, all) = (file("one.json"), file("all.json"));
    let output = covered(&["test", "--guest", "heap"], &one, b"");
    let where_they_ran = "\nflatland: the tests ran on the soft engine, because --coverage needs it: KVM does not show what it \
                          executes\n";
    assert!(text(&output.stderr).ends_with(where_they_ran), "{}", text(&output.stderr));
    covered(&["test", "--guest"], &all, b"");
    let lines = |path: &Path| json(path)["lines"]["covered"].as_u64().expect("it is a number");
    assert!(lines(&one) > 0);
    assert!(lines(&all) > lines(&one));
    let files = json(&all)["files"].as_array().expect("there are files").clone();
    assert!(files.iter().all(|file| !file["file"].as_str().expect("a name").starts_with("tests/")));
}

/// The counts of lines, calls, and both ways of branches of a file of the guest's crate.
fn all_counts(coverage: &Value, name: &str) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for (rows, name_of_count) in
        [("lines", "count"), ("functions", "calls"), ("branches", "taken"), ("branches", "not_taken")]
    {
        for row in file_of(coverage, name)[rows].as_array().expect("there are rows") {
            let number = row[name_of_count].as_u64().expect("it is a number");
            *counts.entry(format!("{rows} {} {name_of_count}", row["line"])).or_default() += number;
        }
    }
    counts
}

#[test]
fn what_earlier_runs_have_executed_is_added() {
    let (sums, signs) = (&b"1 + 2 * 3\n"[..], &b"-(4 - 1)\n6 / 2\n"[..]);
    let [one, other, both, added, all] =
        ["one", "other", "both", "added", "all"].map(|name| file(&format!("added-{name}.json")));
    covered(&["run", "calc"], &one, sums);
    covered(&["run", "calc"], &other, signs);
    covered(&["run", "calc"], &both, &[sums, signs].concat());
    let add = |path: &Path| format!("--coverage-add={}", path.display());
    covered(&["run", "calc", &add(&one)], &added, signs);
    let [one_json, other_json, both_json, added_json] = [&one, &other, &both, &added].map(|path| json(path));
    // Counts are sums. What is executed once for each line of input is the same as in one run.
    for name in ["src/bin/calc/main.rs", "src/bin/calc/expression.rs", "runtime/src/io/read.rs"] {
        let mut sums = all_counts(&one_json, name);
        for (what, count) in all_counts(&other_json, name) {
            *sums.entry(what).or_default() += count;
        }
        assert_eq!(all_counts(&added_json, name), sums);
    }
    let parser = "src/bin/calc/expression.rs";
    assert_eq!(counts(&added_json, parser), counts(&both_json, parser));
    let all_lines = |coverage: &Value| coverage["lines"]["covered"].as_u64().expect("it is a number");
    assert!(all_lines(&added_json) > all_lines(&one_json).max(all_lines(&other_json)));

    // Several at once, and to one of the files that are added. The demand is made of all together.
    fs::copy(&one, &all).expect("it was written");
    let least = format!("--coverage-min={}", 0.999 * added_json["lines"]["percent"].as_f64().unwrap());
    let words = ["run", "calc", &add(&all), &add(&other), &least];
    assert_eq!(xtask(&[&words[..2], &["--coverage", &least]].concat(), sums).status.code(), Some(123));
    covered(&words, &all, sums);
    let three = json(&all);
    let main = "src/bin/calc/main.rs";
    let line = line_of(main, "fn main");
    assert_eq!((counts(&one_json, main)[&line], counts(&three, main)[&line]), (1, 3));

    // Tests and runs together have the files of both.
    covered(&["test", "--guest", "heap", &add(&added)], &all, b"");
    let together = json(&all);
    assert_eq!(counts(&together, parser), counts(&added_json, parser));
    assert!(counts(&together, "runtime/src/heap.rs").values().any(|count| *count > 0));
}

#[test]
fn what_cannot_be_added_is_said() {
    let (bad, to) = (file("bad.json"), file("not-written.json"));
    let _ = fs::remove_file(&to);
    let said = |contents: &[u8], why: &str, advice: &str| {
        fs::write(&bad, contents).expect("the folder for tests can be written");
        for words in [&["run", "list"][..], &["test", "--guest", "heap"]] {
            let options = [&format!("--coverage={}", to.display()), "--coverage-add", bad.to_str().unwrap()];
            let output = xtask(&[words, &options].concat(), NAMES);
            let last = text(&output.stderr).lines().last().unwrap_or_default().to_owned();
            let shown = bad.display();
            let expected = format!("flatland: cannot read --coverage-add `{shown}` ({why}): {advice}");
            assert_eq!((output.status.code(), last), (Some(125), expected));
            assert_eq!(text(&output.stdout), "", "nothing is run");
        }
        assert!(!to.exists());
    };
    let json = "give a FILE.json that --coverage=FILE.json wrote";
    said(b"TN:\nSF:/a.rs\n", "it is no coverage as JSON: `{` is missing in line 1", json);
    said(b"{\"version\": 1,\n\"files\": [7", "it is no coverage as JSON: `{` is missing in line 2", json);
    let again = "write it again with this one";
    said(b"{\"version\": 2}", "its format has version 2, and this flatland reads 1", again);
    said(&vec![b' '; (32 << 20) + 1], "it is larger than 32M", json);
    fs::remove_file(&bad).expect("it was written");
    let output = xtask(&["run", "list", "--coverage", "--coverage-add=/nowhere/a.json"], b"");
    let message = "flatland: cannot read --coverage-add `/nowhere/a.json` (No such file or directory (os error 2)): \
                   give a FILE.json that --coverage=FILE.json wrote\n";
    assert_eq!((output.status.code(), &*text(&output.stderr)), (Some(125), message));
    let output = xtask(&["run", "list", "--coverage", "--coverage-add", "/dev/zero"], b"");
    let message = "flatland: cannot read --coverage-add `/dev/zero` (it is larger than 32M): give a FILE.json that \
                   --coverage=FILE.json wrote\n";
    assert_eq!((output.status.code(), &*text(&output.stderr)), (Some(125), message));
}

#[test]
fn pages_are_complete() {
    let folder = file("pages");
    let _ = fs::remove_dir_all(&folder);
    // The second time there are the pages of the first.
    for _ in 0..2 {
        covered(&["run", "list"], &folder, NAMES);
    }
    let index = fs::read_to_string(folder.join("index.html")).expect("there is a page of all files");
    let at = index.find(">src/bin/list.rs<").expect("it is listed");
    let page = index[..at].rsplit('"').nth(1).expect("it is a link");
    let page = fs::read_to_string(folder.join(page)).expect("it is there");
    assert!(page.contains(">4</td><td><pre>    for line in io::stdin().lines() {</pre></td>"), "{page}");
}

#[test]
fn what_cannot_be_covered_is_said() {
    let said = |arguments: &[&str], status: i32| {
        let output = xtask(arguments, b"");
        assert_eq!(output.status.code(), Some(status));
        text(&output.stderr).lines().last().unwrap_or_default().to_owned()
    };
    assert_eq!(
        said(&["run", "list", "--coverage", "--engine", "kvm"], 2),
        "flatland: KVM does not show what it executes: leave out --engine kvm, or record the run with --record FILE, and \
         then `flatland replay --coverage FILE`; `flatland --help` lists what there is"
    );
    for option in ["--coverage-min", "--coverage-add"] {
        assert_eq!(
            said(&["run", "list", option, "3"], 2),
            format!(
                "flatland: {option} is of --coverage: give that, too; `flatland --help` lists what there is"
            )
        );
    }
    assert_eq!(
        said(&["run", "list", "--coverage=a.txt"], 2),
        "flatland: --coverage `a.txt` is no coverage by its name: end it with .info or .lcov (LCOV) or .json, or give a \
         folder without an extension; `flatland --help` lists what there is"
    );
    // A name that is given without `=` is hinted at.
    let told = said(&["run", "list", "--coverage", "pages"], 2);
    assert!(told.contains("`: a file for coverage is given as --coverage=FILE; "), "{told}");
    // Nobody's files are replaced, but those of an earlier run are.
    let (own, text) = (file("own-folder"), file("a-text"));
    fs::create_dir_all(&own).expect("the folder for tests can be written");
    fs::write(own.join("index.html"), "mine").expect("the folder for tests can be written");
    fs::write(&text, "mine").expect("the folder for tests can be written");
    for (path, why) in [
        (&own, "(it is a folder with other files): give a new one"),
        (&text, "(it is a file): give a folder, or a file that ends in .info, .lcov or .json"),
    ] {
        let told = said(&["run", "list", &format!("--coverage={}", path.display())], 125);
        assert_eq!(told, format!("flatland: cannot write --coverage `{}` {why}", path.display()));
    }
    assert_eq!(fs::read(own.join("index.html")).expect("it is there"), b"mine");
    let full = file("full.info");
    let _ = symlink("/dev/full", &full);
    for (path, why) in [
        ("/nowhere/a.info", "No such file or directory (os error 2)"),
        (full.to_str().expect("it is UTF-8"), "No space left on device (os error 28)"),
    ] {
        let told = said(&["run", "list", &format!("--coverage={path}")], 125);
        assert_eq!(told, format!("flatland: cannot write --coverage `{path}` ({why}): give another place"));
    }
}
