//! The guide, docs/guide: its sessions are run, its programs are those that are there, its links lead somewhere, and each
//! exercise fails its tests until it is solved. In a session, `...` stands for anything.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/sessions.rs"]
mod sessions;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use common::{lock, root, run, text};
use sessions::{bash, difference, steps};

const SUMMARY: &str = include_str!("../../../docs/guide/src/SUMMARY.md");

fn chapters_folder() -> PathBuf {
    root().join("docs/guide/src")
}

/// The chapters in their order: each file's name, and what is in it.
fn chapters() -> Vec<(&'static str, String)> {
    let names = links(SUMMARY).into_iter();
    names.map(|name| (name, read(&chapters_folder().join(name)))).collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Where the links of a page lead, but for those to other machines.
fn links(markdown: &str) -> Vec<&str> {
    let ends = markdown.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    ends.map(|(link, _)| link).filter(|link| !link.contains("://")).collect()
}

#[test]
fn all_chapters_are_in_the_summary_under_their_titles() {
    let files = fs::read_dir(chapters_folder()).expect("the guide is there");
    let files: BTreeSet<_> =
        files.map(|file| file.expect("it can be read").file_name().to_string_lossy().into_owned()).collect();
    let chapters = chapters();
    let listed = chapters.iter().map(|(name, _)| *name).chain(["SUMMARY.md"]).map(Into::into);
    assert_eq!(files, listed.collect());
    for (name, chapter) in chapters {
        let title = chapter.lines().next().and_then(|line| line.strip_prefix("# ")).unwrap_or_default();
        assert!(SUMMARY.contains(&format!("[{title}]({name})")), "{name} is called `{title}`");
    }
}

#[test]
fn links_lead_somewhere() {
    let mut count = 0;
    for (name, chapter) in chapters() {
        for link in links(&chapter) {
            let (path, place) =
                link.split_once('#').map_or((link, None), |(path, place)| (path, Some(place)));
            let path = if path.is_empty() { name } else { path };
            let path = chapters_folder().join(path);
            assert!(path.exists(), "{name}: {link}");
            count += 1;
            let Some(place) = place else { continue };
            // As GitHub and mdBook make them.
            let anchor = |heading: &str| -> String {
                let text = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
                text.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect()
            };
            let page = read(&path);
            let mut headings = page.lines().filter(|line| line.starts_with('#'));
            assert!(headings.any(|heading| anchor(heading) == place), "{name}: {link}");
        }
    }
    println!("{count} links");
}

/// mdBook would make `.html` of them.
#[test]
fn links_out_of_the_book_stay_links_to_files() {
    let mut preprocessor = Command::new("python3");
    preprocessor.arg(root().join("docs/guide/outside.py"));
    let input = br#"[{}, {"content": "[a](../../a.md), [b](../b.md#c), [d](d.md), [e](../e.rs)"}]"#;
    let output = run(&mut preprocessor, input);
    let expected = r#"{"content": "[a](../../a.m%64), [b](../b.m%64#c), [d](d.md), [e](../e.rs)"}"#;
    assert_eq!(text(&output.stdout), format!("{expected}\n"), "{}", text(&output.stderr));
}

/// The text of each block of a page in this language, without its indentation.
fn blocks(markdown: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let mut lines = markdown.split_inclusive('\n');
    let mut blocks = Vec::new();
    while lines.by_ref().any(|line| line == fence) {
        blocks.push(lines.by_ref().take_while(|line| *line != "```\n").collect());
    }
    blocks
}

/// Whether a source has these lines, one after another. Blank lines and indentation are left out, and `// ...` stands for
/// lines that are not shown.
fn is_shown(block: &str, source: &str) -> bool {
    let significant = |text: &str| -> String {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        lines.map(|line| format!("{line}\n")).collect()
    };
    let source = significant(source);
    let mut rest = &*source;
    significant(block).split("// ...\n").all(|part| {
        let Some((_, behind)) = rest.split_once(part) else { return false };
        rest = behind;
        true
    })
}

#[test]
fn programs_are_those_that_are_there() {
    let mut count = 0;
    for (name, chapter) in chapters() {
        let sources: Vec<_> = links(&chapter)
            .into_iter()
            .filter(|link| link.ends_with(".rs"))
            .map(|link| read(&chapters_folder().join(link)))
            .collect();
        for block in blocks(&chapter, "rust") {
            assert!(
                sources.iter().any(|source| is_shown(&block, source)),
                "{name} links no file with:\n{block}"
            );
            count += 1;
        }
    }
    println!("{count} pieces of programs");
}

/// Whether the machine has what a session needs.
fn has(needs: &str) -> bool {
    match needs {
        "" => true,
        "kvm" => env::var_os("FLATLAND_TEST_WITHOUT_KVM").is_none(),
        other => panic!("no machine has `{other}`: `kvm` is known"),
    }
}

#[test]
fn the_sessions_are_true() {
    let _lock = lock();
    // Build first, because builds print messages that are not on the pages.
    let build = "cargo build --package flatland-vmm --examples && cargo xtask test --guest -- --list";
    let built = bash(build, root());
    assert!(built.status.success(), "{}", text(&built.stdout));
    // What a fuzzer has found before it does not find again.
    let _ = fs::remove_dir_all(root().join("target/guide"));
    let (mut ran, mut left_out) = (0, 0);
    let mut differences = Vec::new();
    for (name, chapter) in chapters() {
        for step in steps(&chapter) {
            if has(&step.needs) {
                differences
                    .extend(difference(&step, root()).map(|difference| format!("{name}: {difference}")));
                ran += 1;
            } else {
                left_out += 1;
            }
        }
    }
    println!("{ran} commands, and {left_out} that this machine lacks something for");
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// Where the tests begin in an exercise and in its solution.
const TESTS: &str = "// The tests: leave them as they are.\n";

#[test]
fn exercises_fail_and_solutions_pass() {
    let _lock = lock();
    let folder = root().join("docs/guide/exercises");
    let names = |folder: &Path| -> BTreeSet<String> {
        let files = fs::read_dir(folder).expect("it is there");
        let names =
            files.map(|file| file.expect("it can be read").file_name().to_string_lossy().into_owned());
        names.filter_map(|name| Some(name.strip_suffix(".rs")?.to_owned())).collect()
    };
    let exercises = names(&folder);
    assert_eq!(exercises, names(&folder.join("solutions")));
    let pages: String = chapters().into_iter().map(|(_, chapter)| chapter).collect();
    for name in &exercises {
        let source = |path: String| read(&folder.join(path));
        let (exercise, solution) = (source(format!("{name}.rs")), source(format!("solutions/{name}.rs")));
        let tests = |source: &str| source.split_once(TESTS).map(|(_, tests)| tests.to_owned());
        assert!(
            tests(&exercise).is_some() && tests(&exercise) == tests(&solution),
            "{name}: the tests differ"
        );
        let command = format!("cargo xtask test --guest {name}");
        assert!(pages.contains(&format!("    {command}\n")), "no chapter has {name}");

        let unsolved = bash(&command, root());
        assert_eq!(unsolved.status.code(), Some(101), "{name} is solved: {}", text(&unsolved.stdout));
        let solved = bash(&format!("cargo xtask test --guest solution-{name}"), root());
        assert!(solved.status.success(), "{name}: {}", text(&solved.stdout));
        // Without tests it would succeed as well.
        let count = tests(&solution).unwrap_or_default().matches("#[test]").count();
        assert!(text(&solved.stdout).contains(&format!("ok. {count} passed; 0 failed; ")), "{name}");
    }
    println!("{} exercises", exercises.len());
}
