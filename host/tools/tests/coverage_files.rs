//! Coverage that is read from files: it is what was written, and a damaged file is refused in one sentence, without a
//! panic or much memory.
//!
//! This is a test program of its own, because its allocator counts.

#[path = "../../machine/tests/common/damage.rs"]
mod damage;

use std::collections::BTreeMap;
use std::path::PathBuf;

use damage::{Case, Random, measured, number};
use flatland_tools::coverage::{Branch, Coverage, FileCoverage, FunctionCoverage, NoCoverage};

/// A file of this path with one line, one function and two branches, which were executed so often.
fn file(path: &str, name: &str, count: u64) -> FileCoverage {
    let branch = |taken, not_taken| Branch { taken, not_taken };
    FileCoverage {
        path: PathBuf::from(path),
        lines: BTreeMap::from([(3, count), (u32::MAX, 0)]),
        functions: BTreeMap::from([(3, FunctionCoverage { name: name.into(), calls: count })]),
        branches: BTreeMap::from([(4, vec![branch(count, 0), branch(0, 1)])]),
    }
}

fn coverage<const N: usize>(files: [(&str, FileCoverage); N]) -> Coverage {
    Coverage { files: files.into_iter().map(|(name, file)| (name.to_owned(), file)).collect() }
}

fn example() -> Coverage {
    let path = "C:\\crate/src/a \"b\"\u{e9}\u{1d11e}.rs";
    coverage([("src/a.rs", file(path, "a::<impl b::C>::d", 7)), ("src/b.rs", file("/b.rs", "b", 0))])
}

/// What is said of a text that is no coverage.
#[track_caller]
fn refused(text: &str) -> String {
    Coverage::from_json(text).expect_err("it is refused").to_string()
}

#[test]
fn what_was_written_is_read() {
    for written in [Coverage::default(), example()] {
        assert_eq!(Coverage::from_json(&written.json()), Ok(written));
    }
    // Another program may have written it anew: in another order, with members of its own, and without spaces.
    let text = r#"{"files":[{"path":"\ud834\udd1e\/\u00e9\ud834","new":[{"a":[1,-2.5e3,null,"]"]},{}],
        "lines":[{"count":2,"line":1},{"line":1,"count":3}],"file":"a\u001b\n"}],"version":1}"#;
    let lines = BTreeMap::from([(1, 5)]);
    let path = PathBuf::from("\u{1d11e}/\u{e9}\u{fffd}");
    let read = coverage([("a\u{fffd}\u{fffd}", FileCoverage { path, lines, ..FileCoverage::default() })]);
    assert_eq!(Coverage::from_json(text), Ok(read));
}

#[test]
fn what_is_no_coverage_is_refused() {
    let with = |from: &str, to: &str| {
        let text = example().json();
        assert!(text.contains(from), "{text}");
        refused(&text.replacen(from, to, 1))
    };
    assert_eq!(refused(""), "it is no coverage as JSON: `{` is missing in line 1");
    assert_eq!(refused("TN:\nSF:/a.rs\n"), "it is no coverage as JSON: `{` is missing in line 1");
    assert_eq!(refused("{}"), "it is no coverage as JSON: `version` is missing in line 1");
    assert_eq!(refused("{\"version\": 1} {}"), "it is no coverage as JSON: the end is missing in line 1");
    assert_eq!(
        with("\"version\": 1", "\"version\": 2"),
        "its format has version 2, and this flatland reads 1"
    );
    assert_eq!(
        with("\"count\": 7", "\"count\": -7"),
        "it is no coverage as JSON: a whole number is missing in line 42"
    );
    assert_eq!(
        with("\"count\": 7", "\"count\": 1e30"),
        "it is no coverage as JSON: a whole number is missing in line 42"
    );
    assert_eq!(
        with("\"count\": 7", "\"other\": 7"),
        "it is no coverage as JSON: a count is missing in line 43"
    );
    assert_eq!(
        with("\"line\": 3", "\"line\": 4294967296"),
        "it is no coverage as JSON: a line's number is missing in line 43"
    );
    assert_eq!(
        with("\"path\"", "\"way\""),
        "it is no coverage as JSON: `path` of a file is missing in line 68"
    );
    assert_eq!(with("\\\"b", "\\x"), "it is no coverage as JSON: an escape sequence is missing in line 21");
    let deep = format!("{{\"a\": {}", "[".repeat(1_000_000));
    assert_eq!(refused(&deep), "it is no coverage as JSON: a value is missing in line 1");
    let text = example().json();
    for end in (1..text.trim_end().len()).filter(|end| text.is_char_boundary(*end)) {
        assert!(matches!(Coverage::from_json(&text[..end]), Err(NoCoverage::Damaged(_))), "{end}");
    }
}

#[test]
fn files_are_told_apart_by_their_paths() {
    let mut merged = coverage([("a.rs", file("/one/a.rs", "a", 7))]);
    // The same file, also if it was printed otherwise; another one; and counts that are too large for a sum.
    merged
        .merge(&coverage([("src/a.rs", file("/one/a.rs", "other", 2)), ("a.rs", file("/two/a.rs", "b", 1))]));
    merged.merge(&coverage([("a.rs", file("/two/a.rs", "b", u64::MAX))]));
    let mut one = file("/one/a.rs", "a", 9);
    one.branches.insert(4, vec![Branch { taken: 9, not_taken: 0 }, Branch { taken: 0, not_taken: 2 }]);
    let mut two = file("/two/a.rs", "b", u64::MAX);
    two.branches.insert(4, vec![Branch { taken: u64::MAX, not_taken: 0 }, Branch { taken: 0, not_taken: 2 }]);
    assert_eq!(merged, coverage([("a.rs", one), ("/two/a.rs", two)]));
}

/// How much memory a text of this length may take: what is stated in `coverage/request.rs`, and a little.
fn most_memory(len: usize) -> usize {
    16 * len + 10_000
}

#[test]
fn changed_files_are_refused_or_read() {
    let text = example().json();
    let (mut read, mut refused) = (0, 0);
    let first = number("FLATLAND_SEED", 0);
    for case in first..first + number("FLATLAND_CASES", 20_000) {
        let _named = Case(case);
        let mut random = Random::of_case(case);
        let mut bytes = text.clone().into_bytes();
        (0..=random.below(3)).for_each(|_| random.change(&mut bytes));
        let changed = String::from_utf8_lossy(&bytes);
        let (result, memory) = measured(|| Coverage::from_json(&changed));
        assert!(memory <= most_memory(changed.len()), "{memory} bytes for {}", changed.len());
        match result {
            Ok(coverage) => {
                read += 1;
                let mut sum = example();
                sum.merge(&coverage);
                assert_eq!(Coverage::from_json(&sum.json()), Ok(sum.clone()));
                assert!(!(sum.table() + &sum.lcov()).contains('\u{1b}'));
            }
            Err(error) => {
                refused += 1;
                assert!(!error.to_string().chars().any(char::is_control), "{error}");
            }
        }
    }
    println!("{read} were read, and {refused} refused");
    assert!(number("FLATLAND_CASES", 20_000) < 1000 || (read > 100 && refused > 100), "{read}, {refused}");
}

#[test]
fn memory_is_bounded_for_files_that_are_made_to_take_much() {
    let all = |element: &dyn Fn(usize) -> String| {
        let elements: Vec<_> = (0..30_000).map(element).collect();
        elements.join(",")
    };
    let in_file = |member: &str, elements: String| {
        format!(r#"{{"version":1,"files":[{{"file":"","path":"","{member}":[{elements}]}}]}}"#)
    };
    for (name, text) in [
        ("lines", in_file("lines", all(&|line| format!(r#"{{"line":{line},"count":0}}"#)))),
        ("functions", in_file("functions", all(&|line| format!(r#"{{"line":{line},"calls":0}}"#)))),
        (
            "branches",
            in_file("branches", all(&|line| format!(r#"{{"line":{line},"taken":0,"not_taken":0}}"#))),
        ),
        (
            "files",
            format!(
                r#"{{"version":1,"files":[{}]}}"#,
                all(&|name| format!(r#"{{"file":"","path":"{name}"}}"#))
            ),
        ),
        ("others", format!(r#"{{"version":1,"others":[{}]}}"#, all(&|_| "[{}]".into()))),
    ] {
        let (result, memory) = measured(|| Coverage::from_json(&text));
        let times = memory as f64 / text.len() as f64;
        println!("{name}: {times:.1} times as much");
        assert!(result.is_ok(), "{name}: {result:?}");
        assert!(memory <= most_memory(text.len()), "{name}: {times:.1} times as much");
    }
}
