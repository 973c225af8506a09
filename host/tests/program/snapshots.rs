//! `--save-snapshot` and `--from-snapshot`.

use flatland::EngineChoice;

use super::*;

on_each_engine! {
    a_run_goes_on_from_where_ctrl_c_ended_it,
    a_run_goes_on_from_where_the_time_limit_ended_it,
    a_run_that_has_ended_ends_again,
    a_fault_is_reported_again,
    a_snapshot_is_whole_or_not_there,
    arguments_are_in_the_snapshot,
}

/// Standard error of a run whose snapshot has an end.
const HAD_ENDED: &str = "flatland: the run of the snapshot had ended, and ends in the same way: to go on, save one at a limit \
                         or by Ctrl-C\n";

/// A place for a file of this test.
fn place(name: &str) -> PathBuf {
    image(name, &[]).with_extension("snap")
}

/// Goes on with this input.
fn go_on(engine: &str, snapshot: &Path, options: &[&str], input: &[u8]) -> Output {
    let mut command = flatland(engine);
    let mut child = spawn(command.arg("--from-snapshot").arg(snapshot).args(options));
    // A run that has ended reads no input.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

fn engines() -> impl Iterator<Item = &'static str> {
    common::engines()
        .iter()
        .map(|engine| if *engine == EngineChoice::Kvm { "kvm" } else { "soft" })
        .chain(["auto"])
}

fn a_run_goes_on_from_where_ctrl_c_ended_it(engine: &str) {
    let snapshot = place("ctrl-c");
    let mut command = flatland(engine);
    command.arg("--save-snapshot").arg(&snapshot).arg(image("snapshot-ctrl-c", SAY_AND_ASK));
    assert_ctrl_c_ends(&mut command);
    for engine in engines() {
        assert_ended(go_on(engine, &snapshot, &[], b"B"), 0, "B", "");
        assert_ended(go_on(engine, &snapshot, &[], b"C"), 0, "C", "");
    }
}

fn a_run_goes_on_from_where_the_time_limit_ended_it(engine: &str) {
    let snapshot = place("time-limit");
    let to = snapshot.to_str().unwrap();
    let message = "flatland: time limit of 0.2 s reached, the guest at 0x00000004: give it more with --timeout \
                   SECONDS\n";
    let options = ["--timeout", "0.2", "--save-snapshot", to];
    assert_run(engine, "snapshot-time", SAY_AND_SPIN, &options, 124, "A", message);
    for engine in engines() {
        assert_ended(go_on(engine, &snapshot, &["--timeout", "0.2"], b""), 124, "", message);
    }
}

fn a_run_that_has_ended_ends_again(engine: &str) {
    // mov al, 7; out 0xf4, al
    for (code, status) in [(HALT, 0), (&[0xb0, 7, 0xe6, 0xf4], 7)] {
        let snapshot = place("ended");
        let options = ["--save-snapshot", snapshot.to_str().unwrap()];
        assert_run(engine, "snapshot-ended", code, &options, status, "", "");
        for engine in engines() {
            assert_ended(go_on(engine, &snapshot, &[], b"x"), status, "", HAD_ENDED);
        }
    }
}

fn a_fault_is_reported_again(engine: &str) {
    let snapshot = place("fault");
    let options = ["--save-snapshot", snapshot.to_str().unwrap()];
    let fault = format!("flatland: invalid opcode (#UD) at 0x00000004: {EXCEPTION}\n");
    let output = flatland(engine).args(options).arg(image("snapshot-fault", SAY_AND_FAULT)).output().unwrap();
    let first = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(134), &b"A"[..]));
    assert_eq!(sentences(&first), fault);
    for engine in engines() {
        let output = go_on(engine, &snapshot, &[], b"");
        assert_eq!((output.status.code(), &output.stdout[..]), (Some(134), &b""[..]));
        // With all registers, the instruction and the stack.
        assert_eq!(String::from_utf8(output.stderr).unwrap(), format!("{HAD_ENDED}{first}"), "{engine}");
    }
}

fn a_snapshot_is_whole_or_not_there(engine: &str) {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("snapshots-{engine}"));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir(&folder).unwrap();
    let files = || {
        let names =
            fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    };
    let to = folder.join("a.snap");
    // While the run goes on, there is only the file that it will be written to. An earlier one stays as it is.
    for earlier in [None, Some("earlier")] {
        if let Some(text) = earlier {
            fs::write(&to, text).unwrap();
        }
        let image = image("snapshot-whole", SAY_AND_ASK);
        let begin = || {
            let mut child = spawn(flatland(engine).arg("--save-snapshot").arg(&to).arg(&image));
            assert_says(&mut child, b"A");
            let names = earlier.map(|_| "a.snap".to_owned()).into_iter();
            assert_eq!(files(), names.chain(["a.snap.unfinished".to_owned()]).collect::<Vec<_>>());
            assert_eq!(fs::read_to_string(&to).ok().as_deref(), earlier);
            child
        };
        // What a run that is killed leaves there, the next one takes.
        let mut killed = begin();
        killed.kill().unwrap();
        killed.wait().unwrap();
        let mut child = begin();
        // One run at a time.
        let message = format!(
            "flatland: cannot write --save-snapshot `{}` (another run writes to it): give another place\n",
            to.display()
        );
        let options = ["--save-snapshot", to.to_str().unwrap()];
        assert_run(engine, "snapshot-whole", HALT, &options, 125, "", &message);
        child.stdin.take().unwrap().write_all(b"B").unwrap();
        assert_ended(child.wait_with_output().unwrap(), 0, "B", "");
        assert_eq!(files(), ["a.snap"]);
        assert_ended(go_on(engine, &to, &[], b""), 0, "", HAD_ENDED);
    }
    // A run that cannot begin leaves nothing.
    fs::remove_file(&to).unwrap();
    let script = "exec $flatland --save-snapshot $to $image >&-";
    let output = shell(engine, script, &image("snapshot-closed", HALT)).env("to", &to).output().unwrap();
    assert_eq!((output.status.code(), files()), (Some(125), Vec::new()));
    // It may replace the file that the run came from, also through a link, and may be written to a pipe.
    let script = "set -e; printf HA | $flatland --save-snapshot $to $image; ln -s $to $to.link; \
                  printf L | $flatland --from-snapshot $to.link --save-snapshot $to.link; test -L $to.link; \
                  printf 9 | $flatland --from-snapshot $to --save-snapshot /dev/stderr 2>&1 >$to.output | cat >$to.piped; \
                  printf 0 | $flatland --from-snapshot $to.piped --save-snapshot /dev/null; cat $to.output; test -c /dev/null";
    let output = shell(engine, script, &image("snapshot-chain", SUCCESSOR)).env("to", &to).output().unwrap();
    assert_ended(output, 0, "IBM1:", "");
}

fn arguments_are_in_the_snapshot(engine: &str) {
    let snapshot = place("arguments");
    // 0: in al, 0xe9; mov ecx, 10; 7: in al, 0xed; out 0xe9, al; loop 7; hlt
    let code = [0xe4, 0xe9, 0xb9, 10, 0, 0, 0, 0xe4, 0xed, 0xe6, 0xe9, 0xe2, 0xfa, 0xf4];
    let image = image("snapshot-arguments", &code);
    let mut command = flatland(engine);
    command.arg("--save-snapshot").arg(&snapshot).arg(image).args(["--", "a", "bcd"]);
    assert_ended(command.output().unwrap(), 0, "", "");
    for engine in engines() {
        assert_ended(go_on(engine, &snapshot, &[], b"x"), 0, "\x06\0\0\0a\0bcd\0", "");
    }
}

#[test]
fn the_limit_of_instructions_is_where_a_run_goes_on() {
    let snapshot = place("limit");
    let to = snapshot.to_str().unwrap();
    let limit = |count| {
        format!(
            "flatland: limit of {count} instructions reached, the guest at 0x00000002: give it more with \
             --max-instructions COUNT\n"
        )
    };
    let mut command = flatland("soft");
    command.args(["--max-instructions", "5", "--save-snapshot", to]).arg(image("snapshot-limit", SUCCESSOR));
    let mut child = spawn(&mut command);
    child.stdin.take().unwrap().write_all(b"HA").unwrap();
    assert_ended(child.wait_with_output().unwrap(), 124, "I", &limit(5));
    // The limit holds no more. Another one counts from the first instruction of all.
    assert_ended(go_on("soft", &snapshot, &[], b"L9000"), 0, "BM:111", "");
    assert_ended(go_on("soft", &snapshot, &["--max-instructions", "9"], b"L9000"), 124, "B", &limit(9));
    assert_ended(go_on("soft", &snapshot, &["--max-instructions", "4"], b"L9000"), 124, "", &limit(4));
    for engine in engines() {
        assert_ended(go_on(engine, &snapshot, &["--timeout", "60"], b"L"), 0, "BM", "");
    }
}

#[test]
fn files_that_are_no_snapshots_are_refused() {
    let good = place("good");
    let options = ["--save-snapshot", good.to_str().unwrap()];
    assert_run("soft", "snapshot-good", HALT, &options, 0, "", "");
    let bytes = fs::read(&good).unwrap();
    let changed = |at: usize| {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1;
        bytes
    };
    let too_long = [&bytes[..], b"\n"].concat();
    for (name, file, why) in [
        ("image", HALT.to_vec(), "it is no snapshot: give a file that --save-snapshot has written"),
        ("empty", Vec::new(), "it is no snapshot: give a file that --save-snapshot has written"),
        ("text", changed(0), "it is no snapshot: give a file that --save-snapshot has written"),
        (
            "version",
            changed(17),
            "it has version 257 of the format, and this program reads version 1: use the program that wrote it, or save it \
             again",
        ),
        ("short", bytes[..bytes.len() - 1].to_vec(), "it ends too early: copy it again, or save it again"),
        ("damaged", changed(40), "it is damaged: copy it again, or save it again"),
        ("long", too_long, "it is damaged: copy it again, or save it again"),
    ] {
        let path = image(&format!("snapshot-{name}"), &file);
        let message = format!("flatland: cannot go on from `{}`: {why}\n", path.display());
        assert_ended(go_on("soft", &path, &[], b""), 125, "", &message);
    }
    for (path, why) in [
        ("/no/such/file", "it cannot be read (No such file or directory (os error 2)): check the path"),
        ("/", "it cannot be read (Is a directory (os error 21)): check the path"),
        ("/dev/null", "it is no snapshot: give a file that --save-snapshot has written"),
        ("/dev/zero", "it is no snapshot: give a file that --save-snapshot has written"),
    ] {
        let message = format!("flatland: cannot go on from `{path}`: {why}\n");
        assert_ended(go_on("soft", Path::new(path), &[], b""), 125, "", &message);
    }
}

#[test]
fn places_where_no_snapshot_can_be_saved_are_errors_before_the_run() {
    for (place, why) in [
        ("/no/such/place", "No such file or directory (os error 2)"),
        ("/", "Is a directory (os error 21)"),
        ("", "invalid filename"),
    ] {
        let message =
            format!("flatland: cannot write --save-snapshot `{place}` ({why}): give another place\n");
        assert_run("soft", "snapshot-place", SAY_AND_SPIN, &["--save-snapshot", place], 125, "", &message);
    }
    // A place that is full is known afterwards.
    let message = "flatland: cannot save --save-snapshot `/dev/full`: it cannot be written (No space left on device (os \
                   error 28)): give another place\n";
    assert_run("soft", "snapshot-full", HALT, &["--save-snapshot", "/dev/full"], 125, "", message);
}

#[test]
fn a_program_with_a_snapshot_gives_names_only() {
    let snapshot = place("names");
    let options = ["--timeout", "0.2", "--save-snapshot", snapshot.to_str().unwrap()];
    let image = image("snapshot-names", SAY_AND_SPIN);
    let output = flatland("soft").args(options).arg(&image).output().unwrap();
    assert_eq!(output.status.code(), Some(124));
    let stopped = "flatland: time limit of 0.2 s reached, the guest at 0x00000004: give it more with --timeout \
                   SECONDS\n";
    let other = format!(
        "flatland: no names from {} (it is not of a 32-bit x86 program): give the ELF file that the image was made of\n",
        image.display()
    );
    let limit = ["--timeout", "0.2"];
    let path = image.to_str().unwrap();
    let output = go_on("soft", &snapshot, &[&limit[..], &[path]].concat(), b"");
    assert_ended(output, 124, "", &format!("{other}{stopped}"));
    let output =
        go_on("soft", &snapshot, &[&limit[..], &["--symbols", path, "/no/such/image"]].concat(), b"");
    assert_ended(output, 124, "", &format!("{other}{stopped}"));
    let output = go_on("soft", &snapshot, &["/no/such/image"], b"");
    let message = "flatland: cannot read `/no/such/image` (No such file or directory (os error 2)): check the path, or leave \
                   it out\n";
    assert_ended(output, 125, "", message);
    let output = go_on("soft", &snapshot, &["/"], b"");
    let message = "flatland: cannot read `/` (is a directory): check the path, or leave it out\n";
    assert_ended(output, 125, "", message);
    let output = go_on("soft", &snapshot, &["--symbols", "/no/such/file"], b"");
    let message = "flatland: cannot read --symbols `/no/such/file` (No such file or directory (os error 2)): check the path\n";
    assert_ended(output, 125, "", message);
}
