//! The commands that only a checkout has, and what `cargo xtask` says of itself.

use std::ffi::OsString;

use cargo_flatland::Result;
use cargo_flatland::caller::Caller;
use cargo_flatland::guest::Profile;
use cargo_flatland::options::{Doc, Own, Table, Task, Words, dashes};

use crate::check::Against;
use crate::{bench, check, fuzz, package, page};

/// How `cargo xtask` calls its commands.
pub const CALLER: Caller = Caller { cargo: "cargo xtask", mark: "xtask", test: "test --guest" };

/// What it has besides the commands for guests.
pub const OWN: Own = Own {
    table: Table { head: "Build guest programs, run them on the machine, and test the project.", own: DOCS },
    version: concat!("xtask ", env!("CARGO_PKG_VERSION"), "\n"),
    parse,
};

const FOR_COMPARE: &str = "\
libFuzzer runs the same source natively, without and with AddressSanitizer; a C++ compiler builds it, once. Each bug is
looked for alone, in runs with seeds of their own. What is printed is a table in Markdown.
";

const FOR_PAGE: &str = "\
The page is one file that needs nothing else: it holds the run, and goes to any instruction of it, forward and back. The
first one builds the viewer as WebAssembly (two minutes).

The other options go to flatland, and NAME stands before them. The run is on the soft engine unless --engine names one.
";

const FOR_PARSERS: &str = "\
They are built with the compiler's coverage (two minutes, once). A panic, more memory than is promised, and more than 10
seconds are findings. Each is an input in target/fuzz/parsers/PARSER, and the command that gives it to the parser again is
printed. Interesting inputs are kept there, too, for the next time. The status is 1 if something was found.
";

const DOCS: &[Doc] = &[
    Doc {
        usage: "test [ARGS]",
        about: "run all tests (8 minutes; --quick: one); ARGS are those of `cargo test`, such as a filter",
        options: &[("--quick", "only unit tests, the contract's, and the guest's (about a minute)")],
        passed_to: Some("cargo test"),
        more: "Options of cargo's own choose among the host's tests.\n",
    },
    Doc {
        usage: "differential",
        about: "compare the soft engine with KVM and this processor in 620,000 cases (half an hour)",
        options: &[
            ("--unicorn", "with Debian's libunicorn2 instead of KVM (5 minutes)"),
            (
                "--coverage",
                "instead, --coverage with the compiler's own, for published libraries (2 minutes)",
            ),
        ],
        passed_to: None,
        more: "",
    },
    Doc {
        usage: "bench",
        about: "measure speed beside monitors in C, and print a table (5 minutes; --quick: one)",
        options: &[
            ("--quick", "fewer measurements (one minute)"),
            ("--json", "print it for programs"),
            ("--against FLATLAND", "and another flatland, such as one of before a change"),
        ],
        passed_to: None,
        more: "",
    },
    Doc {
        usage: "page NAME [OPTIONS] [-- ARGS]",
        about: "run a guest program and make a page of the run, for a browser; or give a recording in place of NAME",
        options: &[
            ("-o FILE", "the page (default: target/guest/NAME.html)"),
            ("--no-sources", "leave the program's sources out of it"),
            ("--release", "build the guest program optimized for size, without overflow checks"),
        ],
        passed_to: Some("flatland"),
        more: FOR_PAGE,
    },
    Doc {
        usage: "pictures",
        about: "make the pictures of docs/what-did-it-do.md anew (one minute; needs chromium)",
        options: &[],
        passed_to: None,
        more: "",
    },
    Doc {
        usage: "fuzz --parsers [PARSER [FILES]]",
        about: "fuzz what the host reads from outside: each parser, or one; or give it these files again",
        options: &[
            ("--parsers", "elf, recording, snapshot, gdb, coverage and decoding, one after the other"),
            ("--seconds N", "how long for each (default: 30)"),
            ("--seed N", "the seed of the mutators (default: 0)"),
        ],
        passed_to: None,
        more: FOR_PARSERS,
    },
    Doc {
        usage: "fuzz --compare",
        about: "compare how long this fuzzer and libFuzzer take to find each bug of planted (up to hours)",
        options: &[
            ("--compare", "for each bug, five runs of each fuzzer"),
            ("--rounds N", "instead of five"),
            ("--seconds N", "the longest run (default: 600)"),
            ("--bug NAME", "only this bug, or several"),
        ],
        passed_to: None,
        more: FOR_COMPARE,
    },
    Doc {
        usage: "lint",
        about: "check formatting, clippy and documentation, as CI does",
        options: &[],
        passed_to: None,
        more: "",
    },
    Doc {
        usage: "portability",
        about: "check that the host builds with any of its features, without KVM, and for other systems",
        options: &[],
        passed_to: None,
        more: "",
    },
    Doc {
        usage: "package",
        about: "pack what is published, into target/package, and with it all that it depends on",
        options: &[
            (
                "--check",
                "and install it in an empty home, and make, run, test and debug a guest there (minutes)",
            ),
            ("--publish", "instead, publish all packages, in order"),
        ],
        passed_to: None,
        more: "",
    },
];

/// The form of a command that begins with these words.
fn form(words: &str) -> &'static Doc {
    DOCS.iter().find(|doc| doc.usage.starts_with(words)).expect("it is there")
}

fn parse(name: &str, args: &mut Vec<OsString>) -> Result<Option<Task>> {
    let of = |form: &'static Doc, args: &mut Vec<OsString>| Words::of(&OWN.table, form, std::mem::take(args));
    let has = |args: &[OsString], option: &str| args[..dashes(args)].iter().any(|arg| arg == option);
    let task: Task = match name {
        "test" if has(args, "--guest") => {
            let at = args.iter().position(|arg| arg == "--guest").expect("it is there");
            args.remove(at);
            return Ok(None);
        }
        "test" => {
            let mut words = of(form("test"), args)?;
            let quick = words.has("--quick");
            let arguments = words.take_rest();
            check_not_of_guest(&arguments)?;
            Box::new(move |context| check::test(context, quick, &arguments))
        }
        "fuzz" if has(args, "--parsers") => {
            let mut words = of(form("fuzz --parsers"), args)?;
            let arguments = [words.again_but("--parsers"), words.take_rest()].concat();
            Box::new(move |context| fuzz::parsers(context, &arguments))
        }
        "fuzz" if has(args, "--compare") => {
            let words = of(form("fuzz --compare"), args)?;
            words.end()?;
            let options = words.again_but("--compare");
            Box::new(move |context| fuzz::compare(context, &options))
        }
        "differential" => {
            let words = of(form(name), args)?;
            words.end()?;
            let with = match (words.has("--unicorn"), words.has("--coverage")) {
                (false, false) => Against::Kvm,
                (true, false) => Against::Unicorn,
                (false, true) => Against::CompilersCoverage,
                (true, true) => {
                    return Err(
                        "--unicorn and --coverage compare different things: call one after the other".into(),
                    );
                }
            };
            Box::new(move |_| check::differential(with))
        }
        "bench" => {
            let words = of(form(name), args)?;
            words.end()?;
            let options = words.again(&["--quick", "--json", "--against"]);
            Box::new(move |context| bench::bench(context, &options))
        }
        "package" => {
            let words = of(form(name), args)?;
            words.end()?;
            match (words.has("--check"), words.has("--publish")) {
                (true, true) => {
                    return Err("--publish checks what it publishes by itself: leave out --check".into());
                }
                (true, false) => Box::new(|_| check::packages()),
                (false, true) => Box::new(package::publish),
                (false, false) => Box::new(package::package),
            }
        }
        "page" => {
            let mut words = of(form("page"), args)?;
            let options = page::Options {
                name: words.required_name("calc")?,
                to: words.value("-o").map(Into::into),
                has_sources: !words.has("--no-sources"),
                profile: if words.has("--release") { Profile::Release } else { Profile::Dev },
                flatland: words.take_rest(),
            };
            Box::new(move |context| page::page(context, &options))
        }
        "pictures" | "lint" | "portability" => {
            of(form(name), args)?.end()?;
            match name {
                "pictures" => Box::new(|_| check::pictures()),
                "lint" => Box::new(check::lint),
                _ => Box::new(check::portability),
            }
        }
        _ => return Ok(None),
    };
    Ok(Some(task))
}

/// Rejects options of the guest's tests where all tests are meant.
fn check_not_of_guest(arguments: &[OsString]) -> Result<()> {
    let given = arguments[..dashes(arguments)].iter().filter_map(|word| word.to_str()?.split('=').next());
    let guests = OWN.table.forms("test").find(|doc| doc.is_of_guests_tests()).expect("it is there");
    match guests.option_names().find(|option| given.clone().any(|name| name == *option)) {
        Some(option) => Err(format!("{option} is of the guest's tests: give --guest, too")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use cargo_flatland::caller;

    use super::*;

    fn parsed(line: &str) -> Result<Option<Task>> {
        let mut words = line.split_whitespace().map(OsString::from);
        let name = words.next().expect("there is a command");
        parse(name.to_str().expect("it is UTF-8"), &mut words.collect())
    }

    #[test]
    fn commands_of_the_checkout_alone_are_taken() {
        for (line, is_own) in [
            ("test", true),
            ("test some_test -- --nocapture", true),
            ("test --quick --quiet a", true),
            ("test --guest a", false),
            ("test a -- --guest", true),
            ("fuzz planted", false),
            ("fuzz --parsers elf a.elf --seconds 3", true),
            ("fuzz --seconds 3 --compare", true),
            ("differential --unicorn", true),
            ("differential --coverage", true),
            ("bench --quick --against other --json", true),
            ("lint", true),
            ("portability", true),
            ("page calc -o a.html --memory 1M -- b", true),
            ("pictures", true),
            ("package", true),
            ("package --check", true),
            ("run a", false),
        ] {
            assert_eq!(parsed(line).map(|task| task.is_some()), Ok(is_own), "{line}");
        }
    }

    #[test]
    fn wrong_command_lines_are_named() {
        caller::set(CALLER);
        for (line, message) in [
            ("test --engine soft", "--engine is of the guest's tests: give --guest, too"),
            (
                "differential --qemu",
                "`cargo xtask differential` does not know `--qemu`; `cargo xtask differential --help` lists what there is",
            ),
            (
                "differential --coverage --unicorn",
                "--unicorn and --coverage compare different things: call one after the other",
            ),
            ("package --publish --check", "--publish checks what it publishes by itself: leave out --check"),
            (
                "fuzz planted --compare",
                "`cargo xtask fuzz` does not know `planted`; `cargo xtask fuzz --help` lists what there is",
            ),
        ] {
            assert_eq!(parsed(line).map(|task| task.is_some()), Err(message.into()), "{line}");
        }
    }

    #[test]
    fn each_command_has_help_with_the_names_of_this_program() {
        caller::set(CALLER);
        let overview = OWN.table.overview();
        for doc in OWN.table.docs() {
            let text = OWN.table.help(doc.name()).expect("it is there");
            assert!(text.contains(&format!("Usage: cargo xtask {}\n", doc.usage())), "{text}");
            assert!(overview.contains(&format!("  {}", doc.usage())), "{overview}");
            assert!(!text.contains("cargo flatland"), "{text}");
            assert!(text.lines().all(|line| line.len() <= 124), "{text}");
        }
        assert!(overview.contains("\n  test --guest [FILTER] [-- ARGS]\n"), "{overview}");
        assert!(!overview.contains("cargo flatland"), "{overview}");
    }
}
