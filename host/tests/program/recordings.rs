//! `--record`, `--record-on-failure`, `replay` and `info`.

use super::*;

on_each_engine! {
    a_replay_is_the_run_again,
    a_replay_of_a_fault_has_its_report,
    only_failures_are_kept,
    a_replay_that_is_given_other_limits_ends_there,
    with_a_clock_and_a_seed_two_recordings_are_the_same,
}

/// The command that a message names.
fn program() -> &'static str {
    env!("CARGO_BIN_EXE_flatland")
}

/// Records a run with this input.
fn record(engine: &str, code: &[u8], options: &[&str], input: &[u8]) -> (PathBuf, Output) {
    let to = recording_file("recording");
    let mut command = flatland(engine);
    let mut child = spawn(command.arg("--record").arg(&to).args(options).arg(image("recording-image", code)));
    // A run that has ended reads no input.
    let _ = child.stdin.take().unwrap().write_all(input);
    (to, child.wait_with_output().unwrap())
}

#[track_caller]
fn assert_same(replayed: Output, recorded: &Output) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let all = |output: &Output| (output.status.code(), text(&output.stdout), text(&output.stderr));
    assert_eq!(all(&replayed), all(recorded));
}

fn info(path: &Path) -> Output {
    Command::new(program()).arg("info").arg(path).output().unwrap()
}

fn a_replay_is_the_run_again(engine: &str) {
    let (to, recorded) = record(engine, SUCCESSOR, &["--memory", "1M"], b"HAL");
    assert_same(replay(&to, &[]), &recorded);
    assert_ended(recorded, 0, "IBM", "");
    let program = image("recording-info", SUCCESSOR);
    let mut command = flatland(engine);
    let output = command.arg("--record").arg(&to).arg(&program).output().unwrap();
    assert_ended(output, 0, "", "");
    let (engine, count) = match engine {
        "soft" => ("soft", "0"),
        _ => ("kvm", "not counted"),
    };
    let words = format!(
        "program: {}\nimage: in the recording\nnames: none\nengine: {engine}\nmemory: 16M\ninput: 0 bytes\noutput: 0 bytes\ndigest: 76596058599312e4\ninstructions: {count}\nend: status 0\n",
        fs::canonicalize(program).unwrap().display()
    );
    assert_ended(info(&to), 0, &words, "");
}

fn a_replay_of_a_fault_has_its_report(engine: &str) {
    let (to, recorded) = record(engine, SAY_AND_FAULT, &[], b"");
    assert_same(replay(&to, &[]), &recorded);
    assert_same(replay(&to, &["--engine", "soft"]), &recorded);
    let fault = format!("invalid opcode (#UD) at 0x00000004: {EXCEPTION}");
    assert_ended(recorded, 134, "A", &format!("flatland: {fault}\n"));
    let words = String::from_utf8(info(&to).stdout).unwrap();
    assert!(
        words.contains("\noutput: 1 bytes\n") && words.ends_with(&format!("\nend: {fault}\n")),
        "{words}"
    );
}

fn a_replay_that_is_given_other_limits_ends_there(engine: &str) {
    let (to, recorded) = record(engine, SUCCESSOR, &[], b"HAL");
    assert_ended(recorded, 0, "IBM", "");
    let limit = "flatland: limit of 6 instructions reached, the guest at 0x00000004: give it more with \
                 --max-instructions COUNT\n";
    assert_ended(replay(&to, &["--max-instructions", "6"]), 124, "I", limit);
    // Traces, too.
    let output = replay(&to, &["--trace", "io"]);
    let trace = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), trace.matches("trace: in  console").count()), (Some(0), 3), "{trace}");
}

fn only_failures_are_kept(engine: &str) {
    let to = recording_file("failure");
    let options = ["--record-on-failure", to.to_str().unwrap()];
    let output = flatland(engine).args(options).arg(image("failure-none", HALT)).output().unwrap();
    assert_ended(output, 0, "", "");
    assert!(!to.exists());
    let fault = format!("flatland: invalid opcode (#UD) at 0x00000004: {EXCEPTION}\n");
    let late = "flatland: time limit of 0.2 s reached, the guest at 0x00000004: give it more with --timeout SECONDS\n";
    // mov al, 7; out 0xf4, al
    let exits = &[0xb0, 7, 0xe6, 0xf4][..];
    for (code, more, status, stdout, stderr) in [
        (SAY_AND_FAULT, &[][..], 134, "A", &*fault),
        (SAY_AND_SPIN, &["--timeout", "0.2"], 124, "A", late),
        (exits, &[], 7, "", ""),
    ] {
        // Without cargo, the command is this program's.
        let open = format!(
            "flatland: recorded in `{0}`: `{1} replay {0} --gdb` waits for gdb, where `continue` goes to the failure\n",
            to.display(),
            program()
        );
        let image = image("failure", code);
        let run = || {
            let mut command = flatland(engine);
            command.args(options).args(more).arg(&image).env_remove("FLATLAND_CARGO");
            command
        };
        assert_ended(run().output().unwrap(), status, stdout, &format!("{stderr}{open}"));
        assert_eq!(info(&to).status.code(), Some(0));
        let open = format!(
            "flatland: recorded in `{0}`: `open it gdb --replay {0}` opens it in gdb at the failure\n",
            to.display()
        );
        let output = run().env("FLATLAND_CARGO", "open it").output().unwrap();
        assert_ended(output, status, stdout, &format!("{stderr}{open}"));
        if status != 124 {
            assert_ended(replay(&to, &[]), status, stdout, stderr);
        }
    }
    // A run that ends well leaves no recording of an earlier one that would be taken for its own.
    let output = flatland(engine).args(options).arg(image("failure-none", HALT)).output().unwrap();
    assert_ended(output, 0, "", "");
    assert!(!to.exists());
}

/// 0: mov edi, 0x1000; mov ecx, 1000; mov edx, 0xef; rep insb; f: in al, 0xee; inc ah; jne f; lea esi, [edi - 1000];
/// mov ecx, 1000; mov edx, 0xe9; rep outsb; out 0xe9, al; in al, 0xe9; out 0xe9, al; hlt
const RANDOM_AND_CLOCK: &[u8] = &[
    0xbf, 0, 0x10, 0, 0, 0xb9, 0xe8, 3, 0, 0, 0xba, 0xef, 0, 0, 0, 0xf3, 0x6c, 0xe4, 0xee, 0xfe, 0xc4, 0x75,
    0xfa, 0x8d, 0xb7, 0x18, 0xfc, 0xff, 0xff, 0xb9, 0xe8, 3, 0, 0, 0xba, 0xe9, 0, 0, 0, 0xf3, 0x6e, 0xe6,
    0xe9, 0xe4, 0xe9, 0xe6, 0xe9, 0xf4,
];

/// With a clock and a seed of its own, all that a run depends on is given.
fn with_a_clock_and_a_seed_two_recordings_are_the_same(engine: &str) {
    let (to, program) = (recording_file("world"), image("world", RANDOM_AND_CLOCK));
    let world = |seed: &str| {
        let mut command = flatland(engine);
        command.arg("--record").arg(&to).args(["--clock", "1000000000", "--seed", seed]).arg(&program);
        let mut child = spawn(&mut command);
        child.stdin.take().unwrap().write_all(b"x").unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 1002));
        assert_eq!(replay(&to, &[]).stdout, output.stdout);
        (output.stdout, fs::read(&to).unwrap())
    };
    let (first, other) = (world("1"), world("2"));
    assert!(first.0 != other.0 && first.1 != other.1);
    assert_eq!(world("1"), first);
}

#[test]
fn a_folder_gets_a_file_for_each_failure() {
    let folder = recording_file("a folder").with_extension("");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir(&folder).unwrap();
    let program = image("some program", SAY_AND_FAULT);
    for count in 1..3 {
        let mut command = flatland("soft");
        command.arg("--record-on-failure").arg(&folder).arg(&program).env_remove("FLATLAND_CARGO");
        let child = spawn(&mut command);
        let name = format!("{}-{}.rec", program.file_stem().unwrap().display(), child.id());
        let to = folder.join(name);
        let stderr = String::from_utf8(child.wait_with_output().unwrap().stderr).unwrap();
        // The path has a space in it, so the command quotes it.
        let open = format!(
            "flatland: recorded in `{0}`: `{1} replay '{0}' --gdb` waits for gdb, where `continue` goes to the failure\n",
            to.display(),
            self::program()
        );
        assert!(stderr.ends_with(&open), "{stderr}");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), count);
        assert_eq!(replay(&to, &[]).status.code(), Some(134));
    }
    assert_eq!(
        flatland("soft")
            .arg("--record-on-failure")
            .arg(&folder)
            .arg(image("well", HALT))
            .status()
            .unwrap()
            .code(),
        Some(0)
    );
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
}

#[test]
fn files_that_are_no_recordings_are_refused() {
    let (good, _) = record("soft", SUCCESSOR, &[], b"HAL");
    let bytes = fs::read(&good).unwrap();
    let changed = |at: usize| {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1;
        bytes
    };
    let snapshot = recording_file("snapshot");
    let options = ["--save-snapshot", snapshot.to_str().unwrap()];
    assert_run("soft", "recording-snapshot", HALT, &options, 0, "", "");
    let too_long = [&bytes[..], b"\n"].concat();
    const OTHER: &str = "it is no recording: give a file that --record has written";
    const DAMAGED: &str = "it is damaged: copy it again, or record the run again";
    for (name, file, why) in [
        ("image", HALT.to_vec(), OTHER),
        ("elf", fs::read(program()).unwrap(), OTHER),
        ("empty", Vec::new(), OTHER),
        ("text", changed(0), OTHER),
        (
            "version",
            changed(17),
            "it has version 257 of the format, and this program reads version 1: use the program that wrote it, or record \
             the run again",
        ),
        ("short", bytes[..60].to_vec(), "it ends too early: copy it again, or record the run again"),
        ("damaged", changed(40), DAMAGED),
        ("damaged-end", changed(bytes.len() - 30), DAMAGED),
        ("long", too_long, DAMAGED),
        ("snapshot", fs::read(snapshot).unwrap(), "it is a snapshot and no recording: "),
    ] {
        let path = image(&format!("recording-{name}"), &file);
        let more = match name {
            "snapshot" => format!("`{} --from-snapshot {}` goes on from it", program(), path.display()),
            _ => String::new(),
        };
        let message = format!("flatland: cannot replay `{}`: {why}{more}\n", path.display());
        assert_ended(replay(&path, &[]), 125, "", &message);
        assert_ended(info(&path), 125, "", &message.replace("cannot replay", "cannot read"));
    }
    for (path, why) in [
        ("/no/such/file", " (No such file or directory (os error 2)): check the path"),
        ("/", " (Is a directory (os error 21)): check the path"),
        ("/dev/null", ": it is no recording: give a file that --record has written"),
        ("/dev/zero", ": it is no recording: give a file that --record has written"),
    ] {
        let message = format!("flatland: cannot replay `{path}`{why}\n");
        assert_ended(replay(Path::new(path), &[]), 125, "", &message);
        assert_ended(info(Path::new(path)), 125, "", &message.replace("cannot replay", "cannot read"));
    }
    let message = format!(
        "flatland: cannot go on from `{}`: it is a recording and no snapshot: `flatland replay` runs it again\n",
        good.display()
    );
    let output = flatland("soft").arg("--from-snapshot").arg(&good).output().unwrap();
    assert_ended(output, 125, "", &message);
}

#[test]
fn a_recording_that_ends_too_early_replays_up_to_there() {
    let (good, _) = record("soft", SUCCESSOR, &[], b"HAL");
    let bytes = fs::read(&good).unwrap();
    let message = "flatland: the recording ends here, the guest at 0x00000000, because its run was killed, or its file was \
                   cut: record it again for more of it\n";
    let path = image("recording-cut", &bytes[..bytes.len() - 1]);
    assert_ended(replay(&path, &[]), 137, "IBM", message);
    let words = String::from_utf8(info(&path).stdout).unwrap();
    let end = "\ninput: 3 bytes\noutput: 3 bytes\ndigest: c54a442787f8cbac\ninstructions: not counted\nend: not recorded: the run \
               was killed, or the file was cut\n";
    assert!(words.ends_with(end), "{words}");
}

#[test]
fn places_where_nothing_can_be_recorded_are_errors_before_the_run() {
    let code = SAY_AND_SPIN;
    for option in ["--record", "--record-on-failure"] {
        for (place, why) in [
            ("/no/such/place", "No such file or directory (os error 2)"),
            ("", "No such file or directory (os error 2)"),
            ("/", "Is a directory (os error 21)"),
        ] {
            if (option, place) == ("--record-on-failure", "/") {
                continue;
            }
            let message = format!("flatland: cannot write {option} `{place}` ({why}): give another place\n");
            assert_run("soft", "recording-place", code, &[option, place], 125, "", &message);
        }
        // Whatever is there and no recording is not lost: the program itself, or a snapshot.
        let program = image("recording-itself", code);
        let message = format!(
            "flatland: cannot write {option} `{}` (it is a file and no recording, and would be lost): give another place\n",
            program.display()
        );
        let output = flatland("soft").arg(option).args([&program, &program]).output().unwrap();
        assert_ended(output, 125, "", &message);
        assert_eq!(fs::read(&program).unwrap(), code);
        let message = format!(
            "flatland: cannot write {option} `/dev/full` (No space left on device (os error 28)): give another place\n"
        );
        assert_run("soft", "recording-full", HALT, &[option, "/dev/full"], 125, "", &message);
        assert_run("soft", "recording-null", HALT, &[option, "/dev/null"], 0, "", "");
    }
    assert!(Path::new("/dev/null").exists());
    // An earlier recording is replaced.
    let (to, _) = record("soft", SUCCESSOR, &[], b"a long input that makes a long recording");
    assert_run("soft", "recording-replaced", HALT, &["--record", to.to_str().unwrap()], 0, "", "");
    assert_ended(replay(&to, &[]), 0, "", "");
}

#[test]
#[cfg(target_os = "linux")]
fn a_recording_that_cannot_grow_ends_the_run_and_replays_up_to_there() {
    // 0: mov edx, 0xe9; mov edi, 0x2000; mov ecx, 0x1000; rep insb; mov al, '.'; out 0xe9, al; jmp 0
    const READ_MUCH: &[u8] = &[
        0xba, 0xe9, 0, 0, 0, 0xbf, 0, 0x20, 0, 0, 0xb9, 0, 0x10, 0, 0, 0xf3, 0x6c, 0xb0, b'.', 0xe6, 0xe9,
        0xeb, 0xe9,
    ];
    let program = image("recording-grows", READ_MUCH);
    for option in ["--record", "--record-on-failure"] {
        let to = recording_file("grows");
        // A file may have 1000 blocks here (of 512 or 1024 bytes); more is an error, since the signal is ignored (setrlimit(2), RLIMIT_FSIZE).
        let run = "trap '' XFSZ; ulimit -f 1000; exec \"$@\"";
        let mut command = Command::new("sh");
        command.args(["-c", run, "sh", self::program(), option]).arg(&to).args(["--engine", "soft"]);
        let mut child = spawn(command.arg(&program));
        let _ = child.stdin.take().unwrap().write_all(&[b'a'; 2 << 20]);
        let output = child.wait_with_output().unwrap();
        let message = format!(
            "flatland: cannot write {option} `{}` (File too large (os error 27)): give another place\n",
            to.display()
        );
        let sent = String::from_utf8(output.stdout.clone()).unwrap();
        assert_ended(output, 125, &sent, &message);
        // What follows the last whole block was a part of one.
        let replayed = replay(&to, &[]);
        let words = String::from_utf8_lossy(&replayed.stderr);
        assert!(words.starts_with("flatland: the recording ends here"), "{words}");
        let stdout = String::from_utf8(replayed.stdout).unwrap();
        assert!(!stdout.is_empty() && sent.starts_with(&stdout), "{} of {}", stdout.len(), sent.len());
    }
}

#[test]
fn a_recording_may_name_anything_as_its_program() {
    let to = recording_file("names-anything");
    let record = |name: &str| {
        let program = flatland::Program::from_bytes(HALT.to_vec()).unwrap();
        let mut machine =
            flatland::Machine::builder().engine(flatland::EngineChoice::Soft).build(&program).unwrap();
        let recorder = flatland::Recorder::new(File::create(&to).unwrap()).without_image().program(name);
        machine.record(recorder).unwrap();
        let outcome = machine.run().unwrap();
        machine.end_recording(&outcome).unwrap();
    };
    let command = format!("`{} replay {} PROGRAM`", program(), to.display());
    record("no/such\n\x1b[31mfile");
    let message = format!(
        "flatland: cannot replay `{}` with `no/such\u{fffd}\u{fffd}[31mfile`: there is no such file: check the \
         path, or build it first; or give the program: {command}\n",
        to.display()
    );
    assert_ended(replay(&to, &[]), 125, "", &message);
    // Reading these never ends.
    for endless in ["/dev/zero", "/dev/stdin", "/proc/self/fd/0"] {
        record(endless);
        let message = format!(
            "flatland: cannot replay `{}`: {}: {command}\n",
            to.display(),
            flatland::BuildError::NoProgram
        );
        assert_ended(replay(&to, &[]), 125, "", &message);
    }
}

#[test]
fn two_runs_are_not_recorded_to_one_file() {
    let to = recording_file("twice");
    let mut command = flatland("soft");
    let mut first = spawn(command.arg("--record").arg(&to).arg(image("recording-first", SAY_AND_ASK)));
    assert_says(&mut first, b"A");
    let message = format!(
        "flatland: cannot write --record `{}` (another run writes to it): give another place\n",
        to.display()
    );
    assert_run("soft", "recording-second", HALT, &["--record", to.to_str().unwrap()], 125, "", &message);
    first.stdin.take().unwrap().write_all(b"B").unwrap();
    assert_ended(first.wait_with_output().unwrap(), 0, "B", "");
    assert_ended(replay(&to, &[]), 0, "AB", "");
}

#[test]
fn a_recording_without_its_program_needs_it() {
    let program_path = image("recording-left-out", SUCCESSOR);
    let to = recording_file("left-out");
    let run = |input: &[u8]| {
        let mut command = flatland("soft");
        let mut child =
            spawn(command.arg("--record").arg(&to).arg("--record-without-program").arg(&program_path));
        child.stdin.take().unwrap().write_all(input).unwrap();
        assert_ended(child.wait_with_output().unwrap(), 0, "IBM", "");
    };
    run(b"HAL");
    let path = to.display();
    let command = format!("`{} replay {path} PROGRAM`", program());
    // It is found where it was.
    assert_ended(replay(&to, &[]), 0, "IBM", "");
    let words = String::from_utf8(info(&to).stdout).unwrap();
    assert!(words.contains("\nimage: left out: a replay needs the program\n"), "{words}");
    let (other, same) = (image("recording-other", HALT), image("recording-same", SUCCESSOR));
    assert_eq!(replay(&to, &[same.to_str().unwrap()]).stdout, b"IBM");
    let from = other.display();
    let not_it = format!(
        "flatland: cannot replay `{path}` with `{from}`: it is not the program that was recorded: give that one, {command}, \
         or record the run again\n"
    );
    assert_ended(replay(&to, &[other.to_str().unwrap()]), 125, "", &not_it);
    let from = fs::canonicalize(&program_path).unwrap();
    fs::write(&program_path, HALT).unwrap();
    let not_it = not_it.replace(&other.display().to_string(), &from.display().to_string());
    assert_ended(replay(&to, &[]), 125, "", &not_it);
    fs::remove_file(&program_path).unwrap();
    let gone = format!(
        "flatland: cannot replay `{path}` with `{}`: there is no such file: check the path, or build it first; or give \
         the program: {command}\n",
        from.display()
    );
    assert_ended(replay(&to, &[]), 125, "", &gone);
}

/// A recording from elsewhere may name anything as its program, such as what nobody ever writes to.
#[test]
#[cfg(target_os = "linux")]
fn a_recorded_path_that_is_no_file_is_not_opened() {
    for option in ["--stats", "--record-without-program"] {
        let path = image("recording-pipe", SUCCESSOR);
        let to = recording_file("pipe");
        let mut command = flatland("soft");
        let output =
            command.arg("--record").arg(&to).args([option.as_ref(), path.as_os_str()]).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        let program = fs::canonicalize(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        let words = String::from_utf8(info(&to).stdout).unwrap();
        assert!(words.starts_with(&format!("program: {}\n", program.display())), "{words}");
        assert!(words.contains("\nnames: none\n"), "{words}");
        let replayed = replay(&to, &[]);
        match option {
            "--stats" => assert_ended(replayed, 0, "", ""),
            _ => {
                let message = format!(
                    "flatland: cannot replay `{0}`: the recording was made without its program: give the program too: `{1} \
                     replay {0} PROGRAM`\n",
                    to.display(),
                    self::program()
                );
                assert_ended(replayed, 125, "", &message);
            }
        }
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn a_program_with_a_replay_gives_names_only() {
    let (to, recorded) = record("soft", SUCCESSOR, &[], b"HAL");
    assert_ended(recorded, 0, "IBM", "");
    let other = image("recording-names", HALT);
    let message = format!(
        "flatland: no names from {} (it is not of a 32-bit x86 program): give the ELF file that the image was made of\n",
        other.display()
    );
    assert_ended(replay(&to, &[other.to_str().unwrap()]), 0, "IBM", &message);
    let message = "flatland: cannot read `/no/such/elf` (No such file or directory (os error 2)): check the path, or leave it \
                   out\n";
    assert_ended(replay(&to, &["/no/such/elf"]), 125, "", message);
}

#[test]
fn a_replay_that_leaves_its_recording_says_where() {
    // On KVM, rdtsc is the processor's. 0: rdtsc; 2: out 0xe9, al; 4: hlt
    let code = [0x0f, 0x31, 0xe6, 0xe9, 0xf4];
    let (to, recorded) = record("soft", &code, &[], b"");
    assert_same(replay(&to, &[]), &recorded);
    if !common::engines().contains(&flatland::EngineChoice::Kvm) {
        return;
    }
    let (to, recorded) = record("kvm", &code, &[], b"");
    assert_eq!((recorded.status.code(), recorded.stdout.len()), (Some(0), 1));
    let message = |registers: &str| {
        format!(
            "flatland: the replay leaves its recording at {registers}: what depends on the processor is not recorded, so \
             replay it on that, `{} replay {} --engine kvm`, or record the run again with --engine soft\n",
            program(),
            to.display()
        )
    };
    let output = replay(&to, &[]);
    let sent = "0x2, after 2 instructions: what is sent between byte 0 and byte 1 is not what was recorded";
    let state = "0x4, after 2 instructions: the registers at the end are others than in the recording";
    // The byte may be the same by chance.
    let expected = [sent, state].map(message);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(125) && expected.contains(&stderr), "{stderr}");
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let hint = "; `flatland --help` lists what there is";
    for (args, message) in [
        (&["replay"][..], "`flatland replay` needs a recording: `flatland replay FILE`"),
        (&["info"], "`flatland info` needs a recording: `flatland info FILE`"),
        (&["info", "a", "--stats"], "`flatland info` takes no options: `flatland info FILE`"),
        (&["replay", "a", "--seed", "1"], "a replay has what its run had: leave out --seed"),
        (&["replay", "a", "--clock", "1"], "a replay has what its run had: leave out --clock"),
        (&["replay", "a", "--memory", "1M"], "a replay has what its run had: leave out --memory"),
        (&["replay", "a", "--stack", "1M"], "a replay has what its run had: leave out --stack"),
        (
            &["replay", "a", "--from-snapshot", "b"],
            "a replay has what its run had: leave out --from-snapshot",
        ),
        (&["replay", "a", "--", "b"], "a replay has what its run had: leave out ARGS"),
        (&["replay", "a", "--record", "a"], "a replay is recorded already: copy its recording"),
        (&["replay", "a", "--record-on-failure", "b"], "a replay is recorded already: copy its recording"),
        (
            &["--record", "a", "--record-on-failure", "a", "b"],
            "--record keeps what --record-on-failure keeps, too: leave one out",
        ),
        (
            &["--record", "a", "--gdb", "b"],
            "what gdb changes is not recorded: record the run without --gdb, and then open it with `flatland replay FILE \
             --gdb`",
        ),
        (
            &["--record-on-failure", "a", "--gdb", "b"],
            "what gdb changes is not recorded: record the run without --gdb, and then open it with `flatland replay FILE \
             --gdb`",
        ),
        (&["--record", "-", "a"], "--record `-` would be among the guest's output: give a file"),
    ] {
        let output = Command::new(program()).args(args).output().unwrap();
        assert_ended(output, 2, "", &format!("flatland: {message}{hint}\n"));
    }
}
