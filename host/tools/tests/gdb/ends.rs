//! Ends of runs: what can be done after one, and which outcome the run has.

use std::thread;
use std::time::Duration;

use flatland_machine::{EngineChoice, Event, Machine, Outcome, Program, RunError, Stop, Wants};
use flatland_tools::gdb::Debugger;
use flatland_tools::{Observer, Verdict};
use flatland_x86::{Fault, FaultKind};

use crate::client::{Client, EBX, EIP};
use crate::{Run, SPIN, address, engines, say};

/// 0: ud2; 2: mov al, bl; 4: out 0xf4, al
const FAULTS: &[u8] = &[0x0f, 0x0b, 0x88, 0xd8, 0xe6, 0xf4];

/// Whether an answer is text for the debugger's console.
fn is_console(answer: &str) -> bool {
    answer.starts_with('O') && answer != "OK"
}

#[test]
fn a_fault_is_an_end_where_nothing_is_changed() {
    for engine in engines() {
        for last in ["c", "D", "k"] {
            let run = Run::new(*engine, FAULTS);
            let mut client = run.connect();
            assert!(is_console(&client.ask("c")));
            assert_eq!(client.receive(), "T04thread:01;");
            match last {
                "c" => assert_eq!(client.ask(last), "W86"),
                _ => assert_eq!(client.ask(last), "OK"),
            }
            assert!(client.is_at_the_end());
            let (outcome, _) = run.end();
            let is_fault =
                matches!(outcome, Outcome::Fault(Fault { kind: FaultKind::Exception { vector: 6, .. }, .. }));
            assert!(is_fault, "{engine:?} {last}: {outcome:?}");
        }
    }
}

#[test]
fn after_a_fault_registers_are_set_and_the_guest_goes_on() {
    for engine in engines() {
        for detach in [false, true] {
            let run = Run::new(*engine, FAULTS);
            let mut client = run.connect();
            assert!(is_console(&client.ask("c")));
            assert_eq!(client.receive(), "T04thread:01;");
            assert_eq!(client.register(EIP), 0);
            client.set_register(EIP, 2);
            client.set_register(EBX, 42);
            match detach {
                false => assert_eq!(client.ask("c"), "W2a"),
                true => assert_eq!(client.ask("D"), "OK"),
            }
            assert_eq!(run.end().0, Outcome::Exited(42), "{engine:?}");
        }
    }
}

#[test]
fn after_a_fault_code_is_changed_and_the_guest_goes_on() {
    for engine in engines() {
        let run = Run::new(*engine, FAULTS);
        let mut client = run.connect();
        assert!(is_console(&client.ask("c")));
        assert_eq!(client.receive(), "T04thread:01;");
        // Two nops.
        assert_eq!(client.ask("M0,2:9090"), "OK");
        // Also with a step.
        assert_eq!(client.ask("s"), "S05");
        assert_eq!(client.register(EIP), 1);
        assert_eq!(client.ask("c"), "W00");
        assert_eq!(run.end().0, Outcome::Exited(0), "{engine:?}");
    }
}

#[test]
fn a_fault_may_come_again() {
    for engine in engines() {
        let run = Run::new(*engine, FAULTS);
        let mut client = run.connect();
        for value in 0..3 {
            assert!(is_console(&client.ask("c")));
            assert_eq!(client.receive(), "T04thread:01;");
            client.set_register(EBX, value);
        }
        client.set_register(EIP, 2);
        assert_eq!(client.ask("c"), "W02");
        assert_eq!(run.end().0, Outcome::Exited(2), "{engine:?}");
    }
}

#[test]
fn a_panic_is_no_end_where_registers_are_set() {
    // 0: mov al, 101; 2: out 0xf4, al; 4: mov al, 7; 6: out 0xf4, al
    let code = [0xb0, 101, 0xe6, 0xf4, 0xb0, 7, 0xe6, 0xf4];
    for engine in engines() {
        let run = Run::new(*engine, &code);
        let mut client = run.connect();
        assert!(is_console(&client.ask("c")));
        assert_eq!(client.receive(), "T06thread:01;");
        client.set_register(EIP, 4);
        assert_eq!(client.ask("c"), "W07");
        assert_eq!(run.end().0, Outcome::Exited(7), "{engine:?}");
    }
}

#[test]
fn kill_ends_the_run_whether_it_is_held_or_not() {
    for body in ["k", "vKill;1"] {
        let run = Run::new(EngineChoice::Soft, SPIN);
        let mut client = run.connect();
        assert_eq!(client.ask(body), "OK");
        assert!(matches!(run.end().0, Outcome::Stopped(Stop::Debugger, _)));
        let run = Run::new(EngineChoice::Soft, SPIN);
        let mut client = run.connect();
        client.send("c");
        assert_eq!(client.ask(body), "OK");
        assert!(matches!(run.end().0, Outcome::Stopped(Stop::Debugger, _)));
    }
}

#[test]
fn what_was_sent_before_a_breakpoint_is_written_once_and_the_guest_goes_on_from_it() {
    // 0: mov al, 'A'; 2: out 0xe9, al; 4: inc ebx; 5: jmp 2
    let code = [0xb0, b'A', 0xe6, 0xe9, 0x43, 0xeb, 0xfb];
    for engine in engines() {
        let run = Run::new(*engine, &code);
        let mut client = run.connect();
        assert_eq!(client.ask("Z0,4,1"), "OK");
        for count in 0..4 {
            assert_eq!(client.ask("c"), "T05thread:01;swbreak:;", "{engine:?}");
            assert_eq!(client.register(EBX), count, "{engine:?}");
            // Longer than output is buffered, so that the flush timer expires while the guest is stopped.
            thread::sleep(2 * Machine::FLUSH_WITHIN);
        }
        assert_eq!(client.ask("k"), "OK");
        assert_eq!(run.end().1, b"AAAA", "{engine:?}");
    }
}

#[test]
fn the_last_packet_can_be_acknowledged() {
    for last in ["c", "D", "k"] {
        // 0: hlt
        let run = Run::new(EngineChoice::Soft, &[0xf4]);
        let mut client = run.connect();
        // The client's acknowledgment may fail, because the connection may have been closed.
        client.ask(last);
        assert!(client.is_at_the_end());
        run.end();
    }
}

/// An observer with these wants that does nothing at its events.
struct Everything {
    wants: Wants,
    events: u64,
}

impl Observer for Everything {
    fn wants(&self) -> Wants {
        self.wants.clone()
    }

    fn observe(&mut self, _machine: &mut Machine, event: &Event) -> Result<Verdict, RunError> {
        if let Event::Ended(_) = event {
            assert!(self.events > 0, "it has had its events");
        }
        self.events += 1;
        Ok(Verdict::Continue)
    }
}

#[test]
fn stops_that_others_want_are_not_the_debuggers() {
    // 0: mov al, 'A'; 2: out 0xe9, al; 4: inc ebx; 5: cmp bl, 9; 8: jne 2; a: hlt
    let code = [0xb0, b'A', 0xe6, 0xe9, 0x43, 0x80, 0xfb, 9, 0x75, 0xf8, 0xf4];
    for engine in engines() {
        let mut wants = Wants::nothing();
        wants.steps = true;
        wants.transfers = true;
        wants.breakpoints = vec![2, 4, 5];
        wants.clock = Some(Duration::ZERO);
        let run = Run::with(*engine, &code, Some(Box::new(Everything { wants, events: 0 })));
        let mut client = run.connect();
        // The debugger also sets one of these breakpoints.
        assert_eq!(client.ask("Z0,5,1"), "OK");
        for count in 1..4 {
            assert_eq!(client.ask("c"), "T05thread:01;swbreak:;");
            assert_eq!((client.register(EIP), client.register(EBX)), (5, count), "{engine:?}");
        }
        assert_eq!(client.ask("vCont;r5,a"), "S05");
        assert_eq!(client.register(EIP), 2);
        assert_eq!(client.ask("z0,5,1"), "OK");
        assert_eq!(client.ask("c"), "W00");
        assert_eq!(run.end(), (Outcome::Halted, b"AAAAAAAAA".to_vec()), "{engine:?}");
    }
}

#[test]
fn who_wants_every_step_does_not_keep_the_debugger_from_being_heard() {
    for engine in engines() {
        let mut wants = Wants::nothing();
        wants.steps = true;
        let run = Run::with(*engine, SPIN, Some(Box::new(Everything { wants, events: 0 })));
        let mut client = run.connect();
        client.send("c");
        assert_eq!(client.next_byte(), b'+');
        client.send_bytes(b"\x03").expect("it is read");
        assert_eq!(client.receive(), "S02", "{engine:?}");
        assert_eq!(client.ask("k"), "OK");
        run.end();
    }
}

#[test]
fn events_of_others_do_not_put_off_the_next_look() {
    let program = Program::from_bytes(SPIN.into()).expect("it is not empty");
    let mut machine =
        Machine::builder().engine(EngineChoice::Soft).build(&program).expect("soft is everywhere");
    let (address, socket) = address();
    let mut debugger = Debugger::listen(&address, say).expect("nobody else has the name");
    let client = thread::spawn(move || Client::connect(&socket).ask("D"));
    assert_eq!(debugger.begins(&mut machine).expect("the host does its work"), Verdict::Continue);
    assert_eq!(client.join().expect("it has an answer"), "OK");
    let before = debugger.wants().clock.expect("it wants the clock");
    thread::sleep(Duration::from_millis(1));
    let after = debugger.wants().clock.expect("it wants the clock");
    // The machine's clock restarts with each event, so the debugger must want only the remaining time.
    assert!(after < before || before.is_zero(), "{before:?}, {after:?}");
}
