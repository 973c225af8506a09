//! Recordings of runs that somebody ends from outside: killed, interrupted, at a limit.

use super::*;

on_each_engine! {
    a_conversation_is_on_disk_before_it_ends,
    a_run_that_was_stopped_is_replayed_up_to_there,
    a_run_that_was_stopped_while_it_waited_is_replayed_up_to_there,
    a_run_whose_reader_went_away_is_replayed,
    a_run_that_its_engine_could_not_go_on_with_is_replayed,
}

/// 0: mov al, 'A'; 2: out 0xe9, al; 4: inc ecx; 5: add [0x1000], ecx; b: jmp 4
const SAY_AND_COUNT: &[u8] = &[0xb0, b'A', 0xe6, 0xe9, 0x41, 0x01, 0x0d, 0, 0x10, 0, 0, 0xeb, 0xf7];
/// 0: inc dword [0x1000]; 6: jmp 0
const COUNT_IN_RAM: &[u8] = &[0xff, 0x05, 0, 0x10, 0, 0, 0xeb, 0xf8];

/// The words of a run that is recorded there.
fn recorded(engine: &str, to: &Path, options: &[&str], program: &Path) -> Command {
    let mut command = flatland(engine);
    command.arg("--record").arg(to).args(options).arg(program);
    command
}

/// Waits until the recording replays with this output. It is written within 20 ms, and machines may be busy.
#[track_caller]
fn assert_replays(recording: &Path, expected: &[u8]) -> Output {
    let start = Instant::now();
    loop {
        let output = replay(recording, &[]);
        if output.stdout == expected {
            return output;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "{output:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

const KILLED: &str = "flatland: the recording ends here, the guest at 0x00000000, because its run was killed, or its file was cut: record it \
                      again for more of it\n";

fn a_conversation_is_on_disk_before_it_ends(engine: &str) {
    let (to, program) = (recording_file("conversation"), image("conversation", SUCCESSOR));
    let mut child = spawn(&mut recorded(engine, &to, &[], &program));
    let mut stdin = child.stdin.take().unwrap();
    for (say, answer, all) in [(&b"H"[..], &b"I"[..], &b"I"[..]), (b"AL", b"BM", b"IBM")] {
        stdin.write_all(say).unwrap();
        assert_says(&mut child, answer);
        // The guest waits for more, and the file has all so far.
        let output = assert_replays(&to, all);
        assert_ended(output, 137, &String::from_utf8_lossy(all), KILLED);
    }
    signal(&child, Signal::SIGKILL);
    assert_eq!(child.wait().unwrap().code(), None);
    assert_ended(replay(&to, &[]), 137, "IBM", KILLED);
    drop(stdin);
}

fn a_run_that_was_stopped_is_replayed_up_to_there(engine: &str) {
    for code in [SAY_AND_SPIN, SAY_AND_COUNT] {
        let (to, program) = (recording_file("stopped"), image("stopped", code));
        let output = recorded(engine, &to, &["--timeout", "0.2"], &program).output().unwrap();
        let message = String::from_utf8(output.stderr.clone()).unwrap();
        assert!(message.starts_with("flatland: time limit of 0.2 s reached, the guest at 0x"), "{message}");
        assert_ended(output, 124, "A", &message);
        assert_ended(replay(&to, &[]), 124, "A", &message);
        assert_ended(replay(&to, &["--engine", "soft"]), 124, "A", &message);
        // A trace stops at each instruction, and has what is in between.
        let traced = replay(&to, &["--trace", "io"]);
        let trace = "trace: out console     \"A\"    41  at 0x00000002\ntrace: end: time limit at 0x";
        let words = String::from_utf8(traced.stderr).unwrap();
        assert!(words.starts_with(trace) && words.ends_with(&message), "{words}");
        assert_eq!(traced.status.code(), Some(124));

        // A signal ends it in the same way.
        for (name, status, words) in [
            (Signal::SIGINT, 130, "flatland: interrupted by Ctrl-C, the guest at 0x"),
            (Signal::SIGTERM, 143, "flatland: ended by SIGTERM, the guest at 0x"),
        ] {
            let mut child = spawn(&mut recorded(engine, &to, &[], &program));
            assert_says(&mut child, b"A");
            signal(&child, name);
            let output = child.wait_with_output().unwrap();
            let message = String::from_utf8(output.stderr).unwrap();
            assert!(message.starts_with(words), "{message}");
            assert_eq!(output.status.code(), Some(status));
            assert_ended(replay(&to, &[]), status, "A", &message);
        }
    }
}

fn a_run_that_was_stopped_while_it_waited_is_replayed_up_to_there(engine: &str) {
    let (to, program) = (recording_file("waiting"), image("waiting", SUCCESSOR));
    let mut child = spawn(&mut recorded(engine, &to, &["--timeout", "0.5"], &program));
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"HAL").unwrap();
    let output = child.wait_with_output().unwrap();
    let message = "flatland: time limit of 0.5 s reached, the guest at 0x00000000: give it more with --timeout SECONDS\n";
    assert_ended(output, 124, "IBM", message);
    assert_ended(replay(&to, &[]), 124, "IBM", message);
    drop(stdin);
}

fn a_run_whose_reader_went_away_is_replayed(engine: &str) {
    let (to, program) = (recording_file("unread"), image("unread", SAY_FOR_EVER));
    let mut child = spawn(&mut recorded(engine, &to, &[], &program));
    assert_says(&mut child, b"yyyy");
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(141));
    let output = replay(&to, &["--timeout", "60"]);
    assert_eq!(output.status.code(), Some(141), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout.starts_with(b"yyyy"));
}

/// The soft engine has what this KVM may lack.
fn a_run_that_its_engine_could_not_go_on_with_is_replayed(engine: &str) {
    // mov al, 'A'; out 0xe9, al; int3; hlt
    let (to, program) = (recording_file("lacking"), image("lacking", &[0xb0, b'A', 0xe6, 0xe9, 0xcc, 0xf4]));
    let output = recorded(engine, &to, &[], &program).output().unwrap();
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(134), &b"A"[..]));
    let message = sentences(&String::from_utf8_lossy(&output.stderr));
    assert_ended(replay(&to, &[]), 134, "A", &message);
}

/// KVM does not count, and each time round the registers are the same.
#[test]
fn where_kvm_was_stopped_may_not_be_found() {
    if !common::engines().contains(&flatland::EngineChoice::Kvm) {
        return;
    }
    let (to, program) = (recording_file("not-found"), image("not-found", COUNT_IN_RAM));
    let output = recorded("kvm", &to, &["--timeout", "1"], &program).output().unwrap();
    assert_eq!(output.status.code(), Some(124));
    let output = replay(&to, &[]);
    let words = String::from_utf8(output.stderr).unwrap();
    if output.status.code() == Some(124) {
        // A busy machine has not executed much.
        return;
    }
    let message = format!(
        ": the recorded run was stopped here once, and when is not known, because KVM does not count instructions: what \
         depends on the processor is not recorded, so replay it on that, `{} replay {} --engine kvm`, or record the run \
         again with --engine soft\n",
        env!("CARGO_BIN_EXE_flatland"),
        to.display()
    );
    assert!(
        words.starts_with("flatland: the replay leaves its recording at 0x") && words.ends_with(&message),
        "{words}"
    );
    assert_eq!(output.status.code(), Some(125));
}
