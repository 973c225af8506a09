//! `cargo xtask fuzz`, and docs/fuzzing.md.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use common::{file, lock, root, run, text, xtask};

const PAGE: &str = include_str!("../../docs/fuzzing.md");

/// A fresh folder.
fn folder(name: &str) -> PathBuf {
    let folder = file(&format!("fuzz-{name}"));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// `cargo xtask fuzz` with these words, and what it keeps in this folder.
fn fuzz(words: &str, folder: &Path) -> Output {
    run(&mut command(words, folder), b"")
}

fn command(words: &str, folder: &Path) -> Command {
    let mut command = xtask(["fuzz"]);
    // What the guest is given stands behind a `--`.
    let (own, arguments) = words.split_once(" -- ").map_or((words, None), |(own, rest)| (own, Some(rest)));
    command.args(own.split_whitespace());
    command.arg("--corpus").arg(folder.join("corpus")).arg("--findings").arg(folder.join("findings"));
    command.args(arguments.into_iter().flat_map(|words| ["--"].into_iter().chain(words.split_whitespace())));
    command
}

/// The names in a folder, and what is in the files.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let file = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry.unwrap();
        (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap_or_default())
    };
    entries.map(file).collect()
}

/// A finding's name without the checksum of its calls.
fn kinds(findings: &Path) -> BTreeSet<String> {
    files(findings).into_keys().map(|name| name.rsplit_once('-').unwrap().0.to_owned()).collect()
}

/// The bugs of `planted`.
const PLANTED: [&str; 8] = [
    "hang-in-no_progress",
    "outside-ram-in-trusted_length",
    "panic-in-checksum",
    "panic-in-index",
    "panic-in-magic",
    "panic-in-nested",
    "panic-in-overflow",
    "stack-overflow-in-brackets",
];

#[test]
fn planted_bugs_are_found_and_kept_and_run_again() {
    let _lock = lock();
    let folder = folder("planted");
    let findings = folder.join("findings");
    let mut said = String::new();
    let mut found = BTreeSet::new();
    // A guest that is built elsewhere lies elsewhere in RAM, and the same seed finds its bugs in another order.
    for seed in 0..10 {
        let output = fuzz(&format!("planted --runs 200000 --seed {seed}"), &folder);
        said += &text(&output.stdout);
        assert!(matches!(output.status.code(), Some(0 | 1)), "{said}{}", text(&output.stderr));
        found = kinds(&findings);
        if PLANTED.iter().all(|bug| found.contains(*bug)) {
            break;
        }
    }
    // An index that is far off reads where there is no memory at all, or in the guard below the stack.
    found.remove("guard-in-trusted_length");
    assert!(found.iter().map(String::as_str).eq(PLANTED), "{found:?}\n{said}");
    for name in files(&findings).into_keys() {
        assert!(said.contains(&format!("found {name}: ")), "{name}\n{said}");
        let finding = findings.join(&name);
        let parts = files(&finding);
        assert!(
            parts.keys().map(String::as_str).eq(["input", "minimized", "report.txt", "run.rec"]),
            "{name}: {:?}",
            parts.keys()
        );
        assert!(parts["minimized"].len() <= parts["input"].len(), "{name}");
        // The input, by the program itself and not by the fuzzer: it ends with the same words.
        let seen = run(&mut xtask(["run", "planted", "--max-instructions", "1000000"]), &parts["minimized"]);
        let status = if name.starts_with("hang") {
            124
        } else if name.starts_with("panic") {
            101
        } else {
            134
        };
        assert_eq!(seen.status.code(), Some(status), "{name}: {}", text(&seen.stderr));
        if status == 101 {
            let panic = text(&seen.stderr).lines().next().unwrap().to_owned();
            assert!(text(&parts["report.txt"]).contains(&panic), "{name}: {panic}");
        }
        // And its recording, to the same end.
        let recording = finding.join("run.rec");
        let replayed = run(&mut xtask(["replay", recording.to_str().unwrap()]), b"");
        assert_eq!(replayed.status.code(), Some(status), "{name}: {}", text(&replayed.stderr));
    }

    let regress = fuzz("planted --regress", &folder);
    let lines = text(&regress.stdout);
    assert_eq!(regress.status.code(), Some(1), "{lines}");
    for name in files(&findings).into_keys() {
        assert!(lines.contains(&format!("test {name} ... FAILED\n")), "{lines}");
    }
    // An input that does no harm is a finding that is mended.
    let index = files(&findings).into_keys().find(|name| name.starts_with("panic-in-index")).unwrap();
    fs::write(findings.join(&index).join("minimized"), [3, 33, 0]).unwrap();
    fs::write(findings.join(&index).join("input"), [3, 33, 0]).unwrap();
    let lines = text(&fuzz("planted --regress", &folder).stdout);
    assert!(lines.contains(&format!("test {index} ... ok\n")), "{lines}");
    // Nothing is left where each is mended.
    let all: Vec<_> = files(&findings).into_keys().filter(|name| *name != index).collect();
    all.iter().for_each(|name| fs::remove_dir_all(findings.join(name)).unwrap());
    assert_eq!(fuzz("planted --regress", &folder).status.code(), Some(0));
}

#[test]
fn one_seed_keeps_the_same_inputs() {
    let _lock = lock();
    let kept = |name: &str, seed: &str| {
        let folder = folder(name);
        let output = fuzz(&format!("calc --runs 20000 --seed {seed}"), &folder);
        assert_eq!(output.status.code(), Some(0), "{}{}", text(&output.stdout), text(&output.stderr));
        files(&folder.join("corpus"))
    };
    let first = kept("seed-1", "7");
    assert!(first.len() > 50, "{} inputs", first.len());
    assert!(first == kept("seed-2", "7"), "another corpus");
    assert!(first != kept("seed-3", "8"), "the seed does nothing");
}

#[test]
fn a_corpus_is_made_smaller_and_executes_the_same() {
    let _lock = lock();
    let folder = folder("minimize");
    fuzz("calc --runs 20000", &folder);
    let coverage = || {
        let text = text(&fuzz("calc --coverage", &folder).stdout);
        let all = text.lines().find(|line| line.starts_with("all files ")).map(str::to_owned);
        all.unwrap_or_else(|| panic!("{text}"))
    };
    let (before, covered) = (files(&folder.join("corpus")), coverage());
    let said = text(&fuzz("calc --minimize", &folder).stdout);
    let after = files(&folder.join("corpus"));
    assert!(said.starts_with(&format!("{} of {} inputs are left in ", after.len(), before.len())), "{said}");
    assert!(after.len() < before.len() && after.keys().all(|name| before.contains_key(name)));
    assert_eq!(coverage(), covered);
    let low = fuzz("calc --coverage --coverage-min 100", &folder);
    assert_eq!(low.status.code(), Some(123), "{}", text(&low.stdout));
}

#[test]
fn jobs_and_brokers_share_what_is_new() {
    let _lock = lock();
    let folder = folder("jobs");
    let output = fuzz("calc --jobs 2 --runs 4000", &folder.join("two"));
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}{}", text(&output.stderr));
    let runs = said.lines().find_map(|line| line.split_once(" runs in ")?.0.parse::<u64>().ok());
    assert!(runs.is_some_and(|runs| runs >= 4000), "{said}");

    // A seed that only the first one has, and that the second one has no time to find.
    let seed = folder.join("seed");
    fs::write(&seed, "((((1+2)*3-4)/5)*6)\n(1 + 2) * (3 - 4) / (5 + 6) - 7\n".repeat(3)).unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut first = command(&format!("calc --listen {port} --seconds 600"), &folder.join("first"));
    first.arg("--seeds").arg(&seed);
    let mut first = Running(first.stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(first.0.stdout.take().unwrap()).lines();
    // Its broker listens when its first line is there.
    lines.next().expect("it says how it goes").unwrap();
    let other = fuzz(&format!("calc --connect 127.0.0.1:{port} --seconds 8"), &folder.join("second"));
    assert_eq!(other.status.code(), Some(0), "{}{}", text(&other.stdout), text(&other.stderr));
    let [first_has, second_has] = ["first", "second"].map(|name| files(&folder.join(name).join("corpus")));
    let shared = second_has.keys().filter(|name| first_has.contains_key(*name)).count();
    assert!(shared > 10, "{shared} of {} and {}", first_has.len(), second_has.len());

    let nobody = fuzz("calc --connect 127.0.0.1:1 --seconds 1", &folder.join("third"));
    assert_eq!(nobody.status.code(), Some(125));
    assert!(text(&nobody.stderr).contains("there is no broker at 127.0.0.1:1"), "{}", text(&nobody.stderr));
}

#[test]
fn a_million_runs_take_no_more_memory_than_a_quarter_of_them() {
    let _lock = lock();
    let folder = folder("memory");
    let mut command = command("planted --runs 1000000", &folder);
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    let about = |what: &str| fs::read_to_string(format!("/proc/{}/{what}", child.id())).ok();
    let mut resident = Vec::new();
    while about("statm").is_some_and(|pages| !pages.starts_with("0 ")) {
        // xtask becomes the fuzzer when all is built. The number is in pages, and gone at the end.
        if about("comm").is_some_and(|name| name.starts_with("flatland-fuzz")) {
            let pages = about("statm").and_then(|pages| pages.split(' ').nth(1)?.parse::<u64>().ok());
            resident.extend(pages.filter(|pages| *pages > 0));
        }
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let quarter = resident[..resident.len() / 4].iter().max().copied().unwrap();
    let all = resident.iter().max().copied().unwrap();
    const PAGES_OF_A_MEGABYTE: u64 = 256;
    assert!(resident.len() > 20, "{} samples", resident.len());
    assert!(all < quarter + 2 * PAGES_OF_A_MEGABYTE, "{quarter} pages in the first quarter, then {all}");
}

/// Sends SIGINT to a process, or with a `-` to all of its group.
fn interrupt(process: &str) {
    let killed = Command::new("kill").args(["-INT", "--", process]).status();
    assert!(killed.is_ok_and(|status| status.success()), "{process}");
}

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        interrupt(&self.0.id().to_string());
        let _ = self.0.wait();
    }
}

#[test]
fn an_interrupt_ends_it_in_good_order() {
    let _lock = lock();
    for jobs in ["", " --jobs 2"] {
        let folder = folder("interrupt");
        let mut command = command(&format!("planted --seconds 600{jobs}"), &folder);
        // A group of its own, as a terminal's Ctrl-C has it.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = lines.next().expect("it finds something").unwrap();
        assert!(first.starts_with("found "), "{first}");
        interrupt(&format!("-{}", child.id()));
        let rest: Vec<_> = lines.map(Result::unwrap).collect();
        let status = child.wait().unwrap();
        assert_eq!(status.code(), Some(1), "{jobs}: {rest:#?}");
        let next = "`cargo xtask fuzz planted` goes on from there";
        assert!(rest.last().is_some_and(|line| line.starts_with(next)), "{jobs}: {rest:#?}");
    }
}

#[test]
fn what_cannot_be_fuzzed_is_said() {
    let _lock = lock();
    let folder = folder("wrong");
    let cases = [
        ("fault --seconds 1", 125, "needs a guest that reads its input"),
        ("planted --seconds x", 2, "--seconds takes a number, and `x` is none"),
        ("planted --seeds nowhere", 2, "there is no `nowhere`"),
        ("planted --regress --minimize", 2, "give one of them"),
        ("planted --coverage-min 80", 2, "--coverage-min is of --coverage"),
        (
            "planted --coverage --coverage-add Cargo.toml",
            125,
            "cannot read --coverage-add `Cargo.toml` (it is no coverage as JSON",
        ),
        ("planted --dictionary Cargo.toml --runs 1", 125, "`Cargo.toml` is no dictionary"),
        ("plantd", 2, "did you mean `planted`?"),
        ("./nothing.bin --runs 1", 125, "nothing.bin`"),
    ];
    for (words, status, said) in cases {
        let output = fuzz(words, &folder);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{words}: {stderr}");
        assert!(stderr.contains(said) && !stderr.contains("panicked"), "{words}: {stderr}");
    }
}

/// A flat image without source: reads a byte, and divides by what it has less than `*`.
#[test]
fn a_flat_image_is_fuzzed() {
    let _lock = lock();
    let folder = folder("flat");
    let image = folder.join("divide.bin");
    // in al, 0xe9; mov cl, 42; sub cl, al; mov ax, 100; div cl; hlt
    let code = [0xe4, 0xe9, 0xb1, 42, 0x28, 0xc1, 0x66, 0xb8, 100, 0, 0xf6, 0xf1, 0xf4];
    fs::write(&image, code).unwrap();
    let output = fuzz(&format!("{} --runs 5000", image.display()), &folder);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}{}", text(&output.stderr));
    let findings = folder.join("findings");
    assert_eq!(kinds(&findings), BTreeSet::from(["divide-error-in-0x0000000a".into()]), "{said}");
    let name = files(&findings).into_keys().next().unwrap();
    assert_eq!(files(&findings.join(name))["minimized"], b"*");
}

#[test]
fn the_pages_commands_do_what_it_says() {
    let _lock = lock();
    let commands: Vec<_> = PAGE.lines().filter_map(|line| line.strip_prefix("    cargo xtask ")).collect();
    assert!(commands.len() >= 5, "{commands:?}");
    let folder = folder("page");
    for line in commands {
        if line.starts_with("new ") {
            // It would write into the checkout: tests of `new --fuzz` are elsewhere.
            continue;
        }
        let words = line.strip_prefix("fuzz ").unwrap_or_else(|| panic!("`{line}` is another command"));
        let output = fuzz(words, &folder);
        let said = text(&output.stdout);
        let searches = words.contains("--runs") || words.contains("--regress");
        assert_eq!(output.status.code(), Some(i32::from(searches)), "{line}: {said}{}", text(&output.stderr));
        if words.contains("--runs") {
            // The finding that the page shows, but for the number that comes first.
            let shown = PAGE.lines().find(|line| line.starts_with("found ")).expect("it shows one");
            let shown = shown.rsplit_once(' ').unwrap().0;
            assert!(said.contains(shown), "`{shown}` is not in {said}");
        }
    }
    assert!(root().join("guest/src/bin/planted/main.rs").is_file());
}
