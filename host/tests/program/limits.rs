//! Ends from outside: the time limit, Ctrl-C and similar signals. Also signals that do not end the run.

use super::*;

on_each_engine! {
    the_time_limit_ends_a_busy_guest_and_keeps_its_output,
    the_time_limit_ends_a_guest_that_waits,
    the_time_limit_ends_a_guest_whose_reader_does_not_read,
    the_time_limit_ends_a_run_whose_last_output_nobody_reads,
    a_blocked_alarm_does_not_disarm_the_time_limit,
    ctrl_c_ends_a_busy_guest_and_keeps_its_output,
    ctrl_c_ends_a_guest_that_waits,
    sigterm_ends_a_run_in_good_order,
    a_second_ctrl_c_ends_the_program_that_cannot_end_in_good_order,
    an_ignored_signal_stays_ignored,
    stops_and_window_changes_do_not_disturb_a_run,
}

fn the_time_limit_ends_a_busy_guest_and_keeps_its_output(engine: &str) {
    let message = "flatland: time limit of 0.2 s reached, the guest at 0x00000004: give it more with --timeout \
                   SECONDS\n";
    assert_run(engine, "limit-busy", SAY_AND_SPIN, &["--timeout", "0.2"], 124, "A", message);
}

fn the_time_limit_ends_a_guest_that_waits(engine: &str) {
    let mut command = flatland(engine);
    let mut child = spawn(command.args(["--timeout", "0.2"]).arg(image("limit-waiting", SAY_AND_ASK)));
    let stdin = child.stdin.take();
    let message = "flatland: time limit of 0.2 s reached, the guest at 0x00000004: give it more with --timeout \
                   SECONDS\n";
    assert_ended(child.wait_with_output().unwrap(), 124, "A", message);
    drop(stdin);
}

fn the_time_limit_ends_a_guest_whose_reader_does_not_read(engine: &str) {
    let mut command = flatland(engine);
    let mut child = spawn(command.args(["--timeout", "1.5"]).arg(image("limit-stuck", SAY_FOR_EVER)));
    let start = Instant::now();
    assert_eq!(child.wait().unwrap().code(), Some(124));
    // The last output may take 1 s; the rest is for a machine under load.
    assert!(start.elapsed() < Duration::from_secs(15));
}

fn the_time_limit_ends_a_run_whose_last_output_nobody_reads(engine: &str) {
    // The pipe is full before the guest sends its one byte and halts.
    let script = "(head -c 65536 /dev/zero; $flatland --timeout 0.3 $image; echo $? >&2) | sleep 4";
    // mov al, 'A'; out 0xe9, al; hlt
    let output =
        shell(engine, script, &image("limit-last", &[0xb0, b'A', 0xe6, 0xe9, 0xf4])).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.starts_with("flatland: time limit of 0.3 s reached, the guest "), "{stderr}");
    assert!(stderr.ends_with("\n124\n"), "{stderr}");
}

fn a_blocked_alarm_does_not_disarm_the_time_limit(engine: &str) {
    let script = "exec python3 -c 'import os, signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, \
                  [signal.SIGALRM]); os.execv(sys.argv[1], sys.argv[1:])' $flatland --timeout 0.2 $image";
    let output = shell(engine, script, &image("limit-blocked", SAY_AND_SPIN)).output().unwrap();
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(124), &b"A"[..]));
}

fn ctrl_c_ends_a_busy_guest_and_keeps_its_output(engine: &str) {
    let mut child = spawn(flatland(engine).arg(image("ctrl-c", SAY_AND_SPIN)));
    assert_says(&mut child, b"A");
    signal(&child, Signal::SIGINT);
    let message = "flatland: interrupted by Ctrl-C, the guest at 0x00000004: --timeout SECONDS ends a run by \
                   itself\n";
    assert_ended(child.wait_with_output().unwrap(), 130, "", message);
}

fn ctrl_c_ends_a_guest_that_waits(engine: &str) {
    assert_ctrl_c_ends(flatland(engine).arg(image("ctrl-c-waiting", SAY_AND_ASK)));
}

fn sigterm_ends_a_run_in_good_order(engine: &str) {
    let mut child = spawn(flatland(engine).arg(image("sigterm", SAY_AND_SPIN)));
    assert_says(&mut child, b"A");
    signal(&child, Signal::SIGTERM);
    let message = "flatland: ended by SIGTERM, the guest at 0x00000004: run it again if that was not meant\n";
    assert_ended(child.wait_with_output().unwrap(), 143, "", message);
}

fn a_second_ctrl_c_ends_the_program_that_cannot_end_in_good_order(engine: &str) {
    // It blocks in its last output, because nothing reads the pipe.
    let mut child = spawn(flatland(engine).arg(image("ctrl-c-twice", SAY_FOR_EVER)));
    thread::sleep(Duration::from_millis(1500));
    signal(&child, Signal::SIGINT);
    thread::sleep(Duration::from_millis(100));
    signal(&child, Signal::SIGINT);
    let status = child.wait().unwrap();
    // Killed by the signal, or with its own status if the last output was given up before.
    let by_signal = std::os::unix::process::ExitStatusExt::signal(&status) == Some(2);
    assert!(by_signal || status.code() == Some(130), "{status}");
}

fn an_ignored_signal_stays_ignored(engine: &str) {
    let script = "trap '' HUP; exec $flatland --timeout 0.5 $image";
    let mut child = spawn(&mut shell(engine, script, &image("nohup", SAY_AND_SPIN)));
    assert_says(&mut child, b"A");
    signal(&child, Signal::SIGHUP);
    assert_eq!(child.wait().unwrap().code(), Some(124));
}

fn stops_and_window_changes_do_not_disturb_a_run(engine: &str) {
    // One run that waits for input, and one that computes.
    let mut waiting = spawn(flatland(engine).arg(image("stops-waiting", SAY_AND_ASK)));
    let mut busy = spawn(flatland(engine).args(["--timeout", "1"]).arg(image("stops-busy", SAY_AND_SPIN)));
    for child in [&mut waiting, &mut busy] {
        assert_says(child, b"A");
    }
    for signal_sent in [Signal::SIGWINCH, Signal::SIGSTOP, Signal::SIGCONT, Signal::SIGWINCH] {
        for child in [&waiting, &busy] {
            signal(child, signal_sent);
        }
        thread::sleep(Duration::from_millis(20));
    }
    waiting.stdin.take().unwrap().write_all(b"B").unwrap();
    assert_ended(waiting.wait_with_output().unwrap(), 0, "B", "");
    assert_eq!(busy.wait().unwrap().code(), Some(124));
}
