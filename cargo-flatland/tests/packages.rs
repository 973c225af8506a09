//! Tests packages of all kinds: how they are found, where they are built, and what a plain cargo does in them.

mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::{env, fs};

use common::{
    PROGRAM, as_alone, assert_ends, assert_prints, built, cache, cargo_flatland, manifest, new_folder, run,
    source, text, write,
};

/// `cargo flatland` with these words, split at spaces, which builds in [`built`].
fn flatland(folder: &Path, line: &str) -> Command {
    let mut command = cargo_flatland(folder, line.split_whitespace());
    command.env("CARGO_TARGET_DIR", built());
    command
}

const TOOL: &str = "[package]\nname = \"tool\"\nedition = \"2024\"\n";

#[test]
fn guests_are_a_package_of_a_workspace() {
    let folder = new_folder("Räume & mehr");
    write(
        &folder,
        &[
            ("Cargo.toml", "[workspace]\nresolver = \"3\"\nmembers = [\"tool\", \"mein Gäst\"]\n"),
            ("tool/Cargo.toml", TOOL),
            ("tool/src/main.rs", "fn main() {}\n"),
            ("mein Gäst/Cargo.toml", &manifest("guests", "other", "programs/other one.rs")),
            ("mein Gäst/src/main.rs", &source("the main one")),
            ("mein Gäst/programs/other one.rs", &source("the other")),
        ],
    );
    let list = "guests  Prints a line\nother   Prints a line\n";
    let which = "flatland: which program? Choose one of guests, other\n";
    for place in ["", "tool", "mein Gäst", "mein Gäst/src"] {
        assert_ends(&mut flatland(&folder.join(place), "list"), 0, list, "");
        assert_ends(&mut flatland(&folder.join(place), "run"), 2, "", which);
    }
    assert_prints(&mut flatland(&folder, "run guests"), 0, "the main one\n");
    assert_prints(&mut flatland(&folder.join("tool"), "--package guests run other"), 0, "the other\n");
    assert!(built().join("guest/other.bin").exists());
    let message = "flatland: there is no package `guest` with guests: did you mean `guests`?\n";
    assert_ends(&mut flatland(&folder, "run other --package guest"), 125, "", message);
    let message = "flatland: rustc's --test needs a crate `test`, and guests has none: add it with `cargo add --dev \
                   flatland-guest-test --rename test`\n";
    assert_ends(&mut flatland(&folder, "test"), 1, "", message);
}

#[test]
fn without_guests_the_way_to_some_is_named() {
    // Outside of this workspace, in which cargo would look for packages.
    let folder = env::temp_dir().join(format!("flatland-nothing-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("there is room");
    let message = "flatland: there is no package here: make one with `cargo flatland new NAME`, or go to the folder of one\n";
    assert_ends(&mut cargo_flatland(&folder, ["run"]), 125, "", message);
    assert_ends(&mut cargo_flatland(&folder, ["list"]), 1, "", message);
    write(&folder, &[("Cargo.toml", TOOL), ("src/main.rs", "fn main() {}\n")]);
    let message = "flatland: no package here depends on flatland-guest: add it with `cargo add flatland-guest`, or make a \
                   package with `cargo flatland new NAME`\n";
    assert_ends(&mut cargo_flatland(&folder, ["run"]), 125, "", message);
    write(&folder, &[("Cargo.toml", "[package\n")]);
    let output = run(&mut cargo_flatland(&folder, ["run"]));
    let stderr = text(&output.stderr);
    let message = "flatland: cargo cannot read the package: correct what its message above says\n";
    assert!(stderr.starts_with("error: ") && stderr.ends_with(message), "{stderr}");
    assert_eq!(output.status.code(), Some(125));
    fs::remove_dir_all(folder).expect("it is there");
}

/// Nothing can be written into the package, as if it lay on another medium.
#[test]
fn a_package_that_cannot_be_written_is_built_in_the_cache() {
    let folder = new_folder("read-only");
    let manifest = manifest("fixed", "fixed", "src/fixed.rs") + "[workspace]\n";
    write(&folder, &[("Cargo.toml", &manifest), ("src/fixed.rs", &source("from a read-only package"))]);
    let read_only = |words: &str| {
        let script = format!("mount --bind -o ro \"$1\" \"$1\" && cd \"$1\" && exec \"$2\" flatland {words}");
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "bash", "-c", &script, "bash"]).arg(&folder).arg(PROGRAM);
        as_alone(&mut command);
        command
    };
    let images = folder.join("target/guest");
    let message = format!(
        "flatland: {} cannot be written and has no Cargo.lock: make one with `cargo generate-lockfile` where it can be\n",
        folder.display()
    );
    assert_ends(&mut read_only("run"), 125, "", &message);
    let message = format!(
        "flatland: {} cannot be written: name another folder in CARGO_TARGET_DIR\n",
        images.display()
    );
    assert_ends(read_only("run").env("CARGO_TARGET_DIR", "target"), 125, "", &message);

    assert_prints(&mut flatland(&folder, "build"), 0, "");
    let output = run(&mut read_only("run"));
    let place = folder.to_string_lossy().replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    let cached = cache().join("flatland/packages").join(place.trim_start_matches('-')).join("guest");
    let line = format!(
        "flatland: {} cannot be written, so the guests are built in {}\n",
        images.display(),
        cached.display()
    );
    assert_eq!(text(&output.stdout), "from a read-only package\n", "{}", text(&output.stderr));
    assert!(text(&output.stderr).starts_with(&line), "{}", text(&output.stderr));
    assert!(cached.join("fixed.bin").exists());
}

#[test]
fn a_plain_cargo_works_after_init() {
    let folder = new_folder("init");
    let manifest = manifest("plain", "plain", "src/plain.rs");
    let tests = "[dev-dependencies]\ntest = { package = \"flatland-guest-test\", version = \"0.1.0\" }\n[workspace]\n";
    let test = "#![no_std]\n#![no_main]\nuse flatland_guest::test;\n#[test]\nfn two_and_two() {\n    assert_eq!(2 + 2, 4);\n}\n";
    write(
        &folder,
        &[
            ("Cargo.toml", &manifest.replace("[[bin]]", &format!("{tests}[[bin]]"))),
            ("src/plain.rs", &source("by a plain cargo")),
            ("tests/sums.rs", test),
        ],
    );
    let end = ".cargo/checkout.toml is for this machine alone: add it to .gitignore\n`cargo run` and `cargo test` work here \
               with a nightly toolchain, or with RUSTC_BOOTSTRAP=1 in the environment\n";
    let made = "made i686-bare.json\nmade .cargo/config.toml\nmade .vscode/settings.json\n";
    assert_ends(&mut flatland(&folder, "init"), 0, &format!("{made}{end}"), "");
    let there = "i686-bare.json is there already\n.cargo/config.toml is there already\n";
    write(&folder, &[(".vscode/settings.json", "{}\n")]);
    let differs = ".vscode/settings.json has something else: add what it lacks of this:\n  {\n    \
                   \"rust-analyzer.cargo.extraEnv\": { \"RUSTC_BOOTSTRAP\": \"1\" },\n    \
                   \"rust-analyzer.cargo.allTargets\": false\n  }\n";
    assert_ends(&mut flatland(&folder, "init"), 0, &format!("{there}{differs}{end}"), "");
    assert_eq!(fs::read_to_string(folder.join(".vscode/settings.json")).expect("it is there"), "{}\n");

    // The source of the standard library is where this has it.
    assert_prints(&mut flatland(&folder, "run"), 0, "by a plain cargo\n");
    let version = text(&run(Command::new("rustc").arg("--version")).stdout);
    let version = version.split(' ').nth(1).unwrap_or_default();
    let source = cache().join("flatland/rust-src").join(version).join("library");
    let mut stable = Command::new("cargo");
    stable
        .env("RUSTC_BOOTSTRAP", "1")
        .envs(source.is_dir().then_some(("__CARGO_TESTS_ONLY_SRC_ROOT", source)));
    check_plain_cargo(&folder, stable);

    let nightly = text(
        &run(Command::new("sh").args(["-c", "rustup component list --toolchain nightly --installed"])).stdout,
    );
    if nightly.lines().any(|line| line.starts_with("rust-src")) {
        let mut cargo = Command::new("rustup");
        cargo.args(["run", "nightly", "cargo"]).env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN");
        check_plain_cargo(&folder, cargo);
    } else {
        eprintln!("left out: rustup has no nightly toolchain with rust-src here");
    }
}

/// Runs the program and the tests by this cargo.
fn check_plain_cargo(folder: &Path, mut cargo: Command) {
    let here = Path::new(PROGRAM).parent().expect("it lies in a folder").to_owned();
    let path = env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect::<Vec<_>>();
    let path = env::join_paths([here].into_iter().chain(path)).expect("they come from there");
    cargo.current_dir(folder).env("PATH", path).env("CARGO_TARGET_DIR", built());
    let again = |cargo: &Command, words: &[&str]| {
        let mut command = Command::new(cargo.get_program());
        command.args(cargo.get_args()).args(words).current_dir(folder);
        for (name, value) in cargo.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    };
    assert_prints(&mut again(&cargo, &["run", "--quiet"]), 0, "by a plain cargo\n");
    let output = run(&mut again(&cargo, &["test", "--test", "sums"]));
    let expected = "\nrunning 1 test\ntest sums::two_and_two ... ok\n\ntest result: ok. 1 passed";
    assert!(text(&output.stdout).starts_with(expected), "{}{}", text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn the_doctor_says_what_is_here() {
    let folder = new_folder("doctor");
    let manifest = manifest("patient", "patient", "patient.rs") + "[workspace]\n";
    write(&folder, &[("Cargo.toml", &manifest), ("patient.rs", &source("nothing"))]);
    let mut doctor = flatland(&folder, "doctor");
    doctor.env("GDB", "no-such-debugger").env("PATH", env::var_os("PATH").unwrap_or_default());
    let output = run(&mut doctor);
    let stdout = text(&output.stdout);
    let lines: Vec<_> = stdout.lines().collect();
    let version = text(&run(Command::new("rustc").arg("--version")).stdout);
    let version = version.split(' ').nth(1).unwrap_or_default();
    assert_eq!(lines[0], format!("ok    Rust {version}"));
    // What the engines, debuggers and fuzzers of this machine are is not known here.
    assert!(lines[2].starts_with("ok    KVM") || lines[2].starts_with("note  "), "{stdout}");
    assert!(
        ["ok    --sandbox, a sandbox of Landlock (ABI ", "note  --sandbox is "]
            .iter()
            .any(|begin| lines[3].starts_with(begin)),
        "{stdout}"
    );
    assert!(lines[4].starts_with("note  no no-such-debugger, "), "{stdout}");
    assert_eq!(lines[6], "ok    the package patient, with 1 program");
    let has_source = lines[1].starts_with("ok    the standard library's source");
    assert_eq!(output.status.code(), Some(i32::from(!has_source)), "{stdout}");
}

/// Each call of cargo costs tens of milliseconds, also where nothing is to be done.
#[test]
fn a_run_calls_cargo_twice() {
    let folder = new_folder("few calls");
    let manifest = manifest("few", "few", "few.rs") + "[workspace]\n";
    write(&folder, &[("Cargo.toml", &manifest), ("few.rs", &source("few"))]);
    let (cargo, calls) = (folder.join("cargo"), folder.join("calls"));
    let script = format!("#!/bin/sh\necho \"$1\" >>'{}'\nexec '{}' \"$@\"\n", calls.display(), env!("CARGO"));
    fs::write(&cargo, script).unwrap();
    fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).unwrap();
    assert_prints(flatland(&folder, "run").env("CARGO", &cargo), 0, "few\n");
    assert_eq!(fs::read_to_string(&calls).unwrap(), "metadata\nbuild\n");
}
