//! Debuggers that connect and disconnect.

use std::fs;
use std::thread;
use std::time::Duration;

use flatland_machine::{EngineChoice, Outcome, Stop};

use crate::client::{EAX, EIP};
use crate::{Run, SPIN, engines, wait_until};

const GONE: &str =
    "the debugger is gone (the connection was closed), and the guest waits for the next one: connect";

#[test]
fn who_is_gone_while_the_guest_is_held_comes_back_to_the_same_place() {
    // 0: inc eax; 1: inc eax; 2: jmp 0
    let code = [0x40, 0x40, 0xeb, 0xfc];
    for engine in engines() {
        let run = Run::new(*engine, &code);
        let mut at = 0;
        for sent in [&b""[..], b"$", b"$qSupp", b"$g#67", b"+", b"$g#6"] {
            let mut client = run.connect();
            assert_eq!(client.register(EIP), at, "{engine:?}");
            let after = (at + 2) % 3;
            assert_eq!(client.ask(&format!("Z0,{after},1")), "OK");
            assert_eq!(client.ask("c"), "T05thread:01;swbreak:;");
            // The last breakpoint of the previous debugger, which would be reached first, is gone.
            assert_eq!(client.register(EIP), after, "{engine:?}");
            assert_eq!(client.ask(&format!("Z0,{},1", (after + 1) % 3)), "OK");
            at = after;
            client.send_bytes(sent).expect("it is read");
        }
        wait_until("it is said", || run.said(GONE));
        run.interrupt();
    }
}

#[test]
fn who_is_gone_while_the_guest_runs_finds_it_held() {
    for engine in engines() {
        let run = Run::new(*engine, SPIN);
        let mut client = run.connect();
        client.send("c");
        assert_eq!(client.next_byte(), b'+');
        drop(client);
        wait_until("it is said", || run.said(GONE));
        let mut client = run.connect();
        let count = client.register(EAX);
        thread::sleep(Duration::from_millis(50));
        assert_eq!(client.register(EAX), count, "{engine:?}");
        drop(client);
        run.interrupt();
    }
}

#[test]
fn a_fault_waits_for_who_comes_back() {
    // 0: ud2; 2: hlt
    for engine in engines() {
        let run = Run::new(*engine, &[0x0f, 0x0b, 0xf4]);
        let mut client = run.connect();
        client.send("c");
        while client.receive() != "T04thread:01;" {}
        drop(client);
        let mut client = run.connect();
        client.set_register(EIP, 2);
        assert_eq!(client.ask("c"), "W00");
        assert_eq!(run.end().0, Outcome::Halted, "{engine:?}");
    }
}

#[test]
fn after_detach_the_guest_runs_until_somebody_comes() {
    for engine in engines() {
        let run = Run::new(*engine, SPIN);
        let mut count = 0;
        for _ in 0..3 {
            let mut client = run.connect();
            let now = client.register(EAX);
            assert!(count == 0 || now != count, "{engine:?}");
            thread::sleep(Duration::from_millis(50));
            assert_eq!(client.register(EAX), now, "{engine:?}");
            // After the detach the guest does not stop there.
            assert_eq!(client.ask("Z0,0,1"), "OK");
            assert_eq!(client.ask("D"), "OK");
            assert!(client.is_at_the_end());
            count = now;
            thread::sleep(Duration::from_millis(50));
        }
        assert!(!run.said(GONE));
        run.interrupt();
    }
}

#[test]
fn after_detach_the_run_ends_as_it_would() {
    // 0: mov al, 7; 2: out 0xf4, al
    let run = Run::new(EngineChoice::Soft, &[0xb0, 7, 0xe6, 0xf4]);
    assert_eq!(run.connect().ask("D"), "OK");
    assert_eq!(run.end().0, Outcome::Exited(7));
    let run = Run::new(EngineChoice::Soft, &[0x0f, 0x0b]);
    assert_eq!(run.connect().ask("D"), "OK");
    assert!(matches!(run.end().0, Outcome::Fault(_)));
}

#[test]
fn one_debugger_at_a_time() {
    let run = Run::new(EngineChoice::Soft, SPIN);
    let mut first = run.connect();
    assert_eq!(first.register(EIP), 0);
    // While the guest is stopped, and while it runs.
    assert!(run.connect().is_at_the_end());
    first.send("c");
    assert_eq!(first.next_byte(), b'+');
    assert!(run.connect().is_at_the_end());
    first.send_bytes(b"\x03").expect("it is read");
    assert_eq!(first.receive(), "S02");
    run.interrupt();
}

#[test]
fn an_interrupt_ends_every_wait() {
    for engine in engines() {
        // While it waits for the first debugger.
        Run::new(*engine, SPIN).interrupt();
        // While it waits for a command.
        let run = Run::new(*engine, SPIN);
        let mut client = run.connect();
        assert_eq!(client.register(EIP), 0);
        run.interrupt();
        assert!(client.is_at_the_end());
        // While the guest runs.
        let run = Run::new(*engine, SPIN);
        let mut client = run.connect();
        client.send("c");
        assert_eq!(client.next_byte(), b'+');
        run.interrupt();
        // While it waits for another debugger.
        let run = Run::new(*engine, SPIN);
        drop(run.connect());
        wait_until("it is said", || run.said(GONE));
        run.interrupt();
    }
}

#[test]
fn who_reads_nothing_is_let_go() {
    let run = Run::new(EngineChoice::Soft, SPIN);
    let mut client = run.connect();
    // Until neither side can write any more.
    while client.send_bytes(&b"$m0,7fe#2b".repeat(100)).is_ok() && !run.said("the debugger is gone") {}
    wait_until("it is said", || run.said("the debugger is gone"));
    assert_eq!(run.connect().register(EIP), 0);
    run.interrupt();
}

#[test]
fn where_nobody_can_come_back_the_run_ends() {
    for is_held in [true, false] {
        let run = Run::new(EngineChoice::Soft, SPIN);
        let mut client = run.connect();
        client.send(if is_held { "?" } else { "c" });
        assert_eq!(client.next_byte(), b'+');
        fs::remove_file(&run.socket).expect("it is there");
        drop(client);
        assert!(matches!(run.end().0, Outcome::Stopped(Stop::Debugger, _)));
    }
}
