//! Runs guest programs on another machine, all in one visit. A single file, which is a program, takes flatland,
//! images, ELF files and sources there. Any command that runs a program on another machine can run it. The machine
//! needs a shell and tar.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{self, Command};

use flatland::EngineChoice;

use super::{built, other, root, run};

/// A run of a guest program with one argument, which may be empty. Its input is `*`.
pub struct Run {
    pub title: String,
    pub program: &'static str,
    pub argument: String,
}

/// Runs each of these by `RUNNER PROGRAM`. Returns flatland's standard error for each, between `== TITLE` and `status
/// STATUS`.
pub fn told(runner: &str, engine: EngineChoice, runs: &[Run]) -> String {
    let engine = engine.name();
    let packed = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{engine}-{}", process::id()));
    let here = root().to_str().expect("the checkout's path is UTF-8");
    // The debug information names sources below the checkout. Replace the checkout's path by a name of the current
    // folder that has the same length.
    let there = format!(".{}", "/".repeat(here.len() - 1));
    let pack = |name: &str, from: &Path| {
        let bytes = fs::read(from).expect("it is built");
        let to = packed.join(name);
        fs::create_dir_all(to.parent().expect("it lies in `packed`")).expect("there is room");
        fs::write(&to, replaced(bytes, here.as_bytes(), there.as_bytes())).expect("there is room");
        fs::set_permissions(&to, fs::metadata(from).expect("it is built").permissions()).expect("it is ours");
    };
    pack("flatland", &built("release/flatland"));
    for name in ["fault", "panic"] {
        for extension in ["bin", "elf"] {
            pack(&format!("{name}.{extension}"), &built(&format!("guest/{name}.{extension}")));
        }
        let source = format!("guest/src/bin/{name}.rs");
        pack(&source, &root().join(&source));
    }
    let archive = other("tar", &["-cz", "-C", packed.to_str().expect("so is its path"), "."], b"");

    let mut lines: Vec<String> = runs
        .iter()
        .map(|Run { title, program, argument }| {
            format!(
                "echo '== {title}'; printf '*' | ./flatland --engine {engine} --timeout 60 \
                 --symbols {program}.elf {program}.bin -- {argument} 2>&1 >/dev/null; echo \"status $?\""
            )
        })
        .collect();
    lines.push("exit\n".into());
    let begin = "#!/bin/sh\nset -e; folder=$(mktemp -d); trap 'rm -r $folder' EXIT";
    let archive_at = begin.lines().count() + 1 + lines.len() + 1;
    let unpack = format!("tail -n +{archive_at} \"$0\" | tar -xz -C $folder; cd $folder; set +e");
    let script = [begin, &unpack, &lines.join("\n")].join("\n");
    let path = packed.join("reports");
    fs::write(&path, [script.as_bytes(), &archive].concat()).expect("there is room");
    fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("it is ours");

    let mut words = runner.split_whitespace();
    let mut command = Command::new(words.next().expect("the runner is named"));
    let output = run(command.args(words).arg(&path), b"");
    fs::remove_dir_all(&packed).expect("it is ours");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("reports are UTF-8").replace(&(there + "/"), "")
}

/// Replaces each occurrence of `from` by `to`, which has the same length.
fn replaced(mut bytes: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut at = 0;
    while let Some(found) = bytes[at..].windows(from.len()).position(|window| window == from) {
        at += found;
        bytes[at..at + to.len()].copy_from_slice(to);
    }
    bytes
}
