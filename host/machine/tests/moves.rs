//! Runs that move between the engines, by themselves and when asked to.

use std::env;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use flatland_machine::{
    EngineChoice, EngineKind, Event, Machine, MoveError, Outcome, Program, RestoreError, Stop, Streams,
    Wants, Why,
};
use flatland_x86::{FaultKind, Location, SegmentRegister, WatchKind, Watchpoint};

/// Whether tests of KVM are left out, because there is none.
fn is_without_kvm() -> bool {
    env::var_os("FLATLAND_TEST_WITHOUT_KVM").is_some()
}

fn machine(engine: EngineChoice, code: &[u8], input: &[u8]) -> Machine {
    let program = Program::from_bytes(code.to_vec()).expect("there is code");
    let builder = Machine::builder().engine(engine).input(input).output(Vec::new());
    let builder = builder.time_limit(Duration::from_secs(60));
    builder.build(&program).unwrap_or_else(|error| panic!("this test needs KVM, and {error}"))
}

fn kind(machine: &mut Machine) -> EngineKind {
    match machine.engine().name() {
        "kvm" => EngineKind::Kvm,
        _ => EngineKind::Soft,
    }
}

fn move_over(machine: &mut Machine) {
    let other = match kind(machine) {
        EngineKind::Kvm => EngineKind::Soft,
        EngineKind::Soft => EngineKind::Kvm,
    };
    machine.move_to(other).expect("it moves");
    assert_eq!(kind(machine), other);
}

/// in al, 0xe9; inc al; out 0xe9, al; jmp 0
const SUCCESSOR: &[u8] = &[0xe4, 0xe9, 0xfe, 0xc0, 0xe6, 0xe9, 0xeb, 0xf8];

#[test]
fn a_run_that_talks_moves_to_soft_and_one_by_name_stays() {
    if is_without_kvm() {
        return;
    }
    let input = [b'a'; 2000];
    for engine in [EngineChoice::Auto, EngineChoice::Kvm, EngineChoice::Soft] {
        let mut machine = machine(engine, SUCCESSOR, &input);
        assert_eq!(machine.run().unwrap(), Outcome::EndOfInput);
        assert_eq!(machine.streams().output.bytes(), [b'b'; 2000]);
        let stats = machine.stats();
        let why: Vec<_> = stats.moves.iter().map(|made| (made.to, made.why)).collect();
        match engine {
            // Another test of this process may have measured that this KVM emulates.
            EngineChoice::Auto => {
                assert!(matches!(why[..], [(EngineKind::Soft, Why::Talks | Why::Emulates)]), "{why:?}")
            }
            _ => assert_eq!(why, []),
        }
        assert_eq!(stats.move_count, why.len() as u64);
        let words = stats.engines_in_words().expect("it is one of the two");
        assert_eq!(words.contains(", to soft at 0x"), engine == EngineChoice::Auto, "{words}");
    }
}

#[test]
fn an_instruction_that_one_engine_lacks_is_executed_by_the_other() {
    if is_without_kvm() {
        return;
    }
    // mov ax, 0x0f; aaa; out 0xf4, al: an emulating KVM does not have `aaa`.
    let mut machine = machine(EngineChoice::Auto, &[0x66, 0xb8, 0x0f, 0, 0x37, 0xe6, 0xf4], b"");
    assert_eq!(machine.run().unwrap(), Outcome::Exited(5));
    // 0: mov eax, cr0; 3: or al, 2; 5: mov cr0, eax; 8: pshufb mm0, mm1; c: hlt. The soft engine does not have it, and an
    // emulating KVM neither.
    let code = [0x0f, 0x20, 0xc0, 0x0c, 2, 0x0f, 0x22, 0xc0, 0x0f, 0x38, 0x00, 0xc1, 0xf4];
    for first in [EngineKind::Kvm, EngineKind::Soft] {
        let program = Program::from_bytes(code.to_vec()).unwrap();
        let builder = Machine::builder();
        let builder = if first == EngineKind::Soft { builder.many_runs() } else { builder };
        let mut machine = builder.build(&program).unwrap();
        match machine.run().unwrap() {
            Outcome::Halted => assert_eq!(kind(&mut machine), EngineKind::Kvm),
            Outcome::Fault(fault) => {
                let Location::At(at) = fault.location else { panic!("{first}: {fault:?}") };
                assert_eq!(at, 8, "{first}: {fault:?}");
                assert!(
                    matches!(fault.kind, FaultKind::Unsupported { engine: "the soft engine", .. }),
                    "{first}: {fault:?}"
                );
                assert_eq!(machine.registers().unwrap().eip, at);
                assert_eq!(machine.run().unwrap(), Outcome::Fault(fault), "it stays the end");
            }
            outcome => panic!("{first}: {outcome:?}"),
        }
    }
}

#[test]
fn what_an_observer_wants_decides_where_a_run_goes_on() {
    if is_without_kvm() {
        return;
    }
    // 0: mov byte [0x1000], 7; 7: hlt
    let mut machine = machine(EngineChoice::Auto, &[0xc6, 0x05, 0, 0x10, 0, 0, 7, 0xf4], b"");
    let watchpoint = Watchpoint { address: 0x1000, len: 1, kind: WatchKind::Write };
    let wants = Wants { watchpoints: vec![watchpoint], ..Wants::default() };
    let Event::Stopped(stopped) = machine.resume(&wants).unwrap() else { panic!("it is watched") };
    assert_eq!(stopped.watchpoint.expect("it was hit").0, 0x1000);
    assert_eq!(kind(&mut machine), EngineKind::Soft);
    // It has been on soft since its first instruction, so instructions are counted.
    assert_eq!(machine.engine().instructions(), Some(1));
    assert_eq!(machine.run().unwrap(), Outcome::Halted);
}

/// A move, or a snapshot, gives up an input that the guest waits for: it comes again, and is counted once.
#[test]
fn an_input_that_is_given_up_is_counted_once() {
    for engine in [EngineChoice::Auto, EngineChoice::Kvm, EngineChoice::Soft] {
        if engine != EngineChoice::Soft && is_without_kvm() {
            continue;
        }
        for moves in [false, true].into_iter().filter(|moves| !moves || !is_without_kvm()) {
            let mut machine = machine(engine, SUCCESSOR, b"ab");
            for _ in 0..3 {
                let wants = Wants { input: true, ..Wants::default() };
                assert_eq!(machine.resume(&wants).unwrap(), Event::InputWanted);
                match moves {
                    true => move_over(&mut machine),
                    false => drop(machine.snapshot().expect("it can be taken")),
                }
                // The input, and the output after it.
                let wants = Wants { transfers: true, ..Wants::default() };
                (0..2).for_each(|_| drop(machine.resume(&wants).unwrap()));
            }
            assert_eq!(machine.streams().output.bytes(), b"bc");
            // The third input is the end: an exit, and no byte.
            let words = "5 exits for I/O, console in 3 (2 bytes), console out 2 (2 bytes)";
            assert_eq!(machine.stats().transfers_in_words(), words, "{engine:?}, {moves}");
        }
    }
}

#[test]
fn instructions_on_kvm_are_not_counted_afterwards() {
    if is_without_kvm() {
        return;
    }
    let mut machine = machine(EngineChoice::Kvm, SUCCESSOR, b"ab");
    machine.resume(&Wants { transfers: true, ..Wants::default() }).unwrap();
    machine.move_to(EngineKind::Soft).unwrap();
    assert_eq!(machine.engine().instructions(), None);
    let refused = machine.set_instruction_limit(1_000_000).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the soft engine cannot count the instructions of a run that has been on KVM: run it with the soft engine from \
         its beginning"
    );
    assert_eq!(machine.run().unwrap(), Outcome::EndOfInput);
    assert_eq!(machine.streams().output.bytes(), b"bc");
}

#[test]
fn an_engine_of_the_callers_own_stays() {
    let program = Program::from_bytes(vec![0xf4]).unwrap();
    let engine = flatland_soft::SoftEngine::new(flatland_machine::MemorySize::default());
    let mut machine = Machine::builder().build_with(Box::new(engine), &program).unwrap();
    let error = machine.move_to(EngineKind::Kvm).unwrap_err();
    assert!(matches!(error, MoveError::Choice(_)), "{error}");
    assert_eq!(machine.run().unwrap(), Outcome::Halted);
}

#[test]
fn soft_says_what_it_lacks_and_the_run_stays() {
    if is_without_kvm() {
        return;
    }
    // mov eax, cr0; and al, 0xfe; mov cr0, eax; out 0xe9, al; hlt
    let code = [0x0f, 0x20, 0xc0, 0x24, 0xfe, 0x0f, 0x22, 0xc0, 0xe6, 0xe9, 0xf4];
    let mut machine = machine(EngineChoice::Kvm, &code, b"");
    machine.resume(&Wants { transfers: true, ..Wants::default() }).unwrap();
    let error = machine.move_to(EngineKind::Soft).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the soft engine cannot go on from here, because it has no real mode: go on with KVM"
    );
    assert_eq!(kind(&mut machine), EngineKind::Kvm);
    assert_eq!(machine.run().unwrap(), Outcome::Halted);
    assert_eq!(machine.streams().output.bytes(), [0x10]);
}

#[test]
fn each_event_may_be_followed_by_a_move() {
    if is_without_kvm() {
        return;
    }
    let input: Vec<u8> = (0..100).collect();
    let output: Vec<u8> = (1..=100).collect();
    for first in [EngineChoice::Kvm, EngineChoice::Soft] {
        for wants in [
            Wants { transfers: true, ..Wants::default() },
            Wants { steps: true, ..Wants::default() },
            Wants { input: true, ..Wants::default() },
            Wants { breakpoints: vec![4], ..Wants::default() },
            Wants { steps: true, transfers: true, input: true, breakpoints: vec![0, 4], ..Wants::default() },
        ] {
            let events = |moves: bool| {
                let mut machine = machine(first, SUCCESSOR, &input);
                let mut events = Vec::new();
                loop {
                    let event = machine.resume(&wants).unwrap();
                    events.push((event.clone(), machine.registers().unwrap().eip));
                    if let Event::Ended(outcome) = event {
                        assert_eq!(outcome, Outcome::EndOfInput);
                        assert_eq!(machine.streams().output.bytes(), output, "{first:?} {wants:?}");
                        return events;
                    }
                    if moves {
                        // An input that was announced is given up by a move, and would be announced again.
                        if !matches!(event, Event::InputWanted) {
                            move_over(&mut machine);
                        }
                    }
                }
            };
            let (expected, actual) = (events(false), events(true));
            // EIP at a transfer is the engine's own.
            let comparable = |events: &[(Event, u32)]| -> Vec<_> {
                let is_stop = |event: &Event| matches!(event, Event::Stopped(_));
                events.iter().map(|(event, eip)| (event.clone(), is_stop(event).then_some(*eip))).collect()
            };
            assert_eq!(comparable(&actual), comparable(&expected), "{first:?} {wants:?}");
        }
    }
}

#[test]
fn an_interrupt_in_the_middle_of_moves_is_not_lost_and_loses_nothing() {
    if is_without_kvm() {
        return;
    }
    let input: Vec<u8> = (0..5000_u32).map(|number| number as u8).collect();
    let output: Vec<u8> = input.iter().map(|byte| byte.wrapping_add(1)).collect();
    for first in [EngineChoice::Kvm, EngineChoice::Soft, EngineChoice::Auto] {
        let mut machine = machine(first, SUCCESSOR, &input);
        let handle = machine.interrupt_handle();
        // Interrupted before a move: the other engine comes back.
        handle.interrupt();
        move_over(&mut machine);
        assert_eq!(machine.resume(&Wants::nothing()).unwrap(), Event::Interrupted, "{first:?}");

        // So few that a run with slow moves goes on as well.
        const TIMES: u64 = 200;
        let is_done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..TIMES {
                    if !is_done.load(Ordering::SeqCst) {
                        handle.interrupt();
                        thread::sleep(Duration::from_micros(300));
                    }
                }
            });
            let mut interrupted = 0;
            let wants = Wants { clock: Some(Duration::from_millis(3)), ..Wants::default() };
            loop {
                match machine.resume(&wants).unwrap() {
                    Event::Interrupted => {
                        interrupted += 1;
                        move_over(&mut machine);
                    }
                    Event::Clock => move_over(&mut machine),
                    Event::Ended(outcome) => {
                        assert_eq!(outcome, Outcome::EndOfInput);
                        break;
                    }
                    event => panic!("{event:?}"),
                }
            }
            is_done.store(true, Ordering::SeqCst);
            assert!(interrupted <= TIMES, "{first:?}");
        });
        assert_eq!(machine.streams().output.bytes(), output, "{first:?}");
    }
}

#[test]
fn a_time_limit_is_that_of_the_run_and_not_of_an_engine() {
    if is_without_kvm() {
        return;
    }
    // jmp $
    let mut machine = machine(EngineChoice::Kvm, &[0xeb, 0xfe], b"");
    // A move may take long, where the KVM is on an emulated processor.
    let limit = Duration::from_millis(500);
    machine.set_time_limit(limit);
    let wants = Wants { clock: Some(Duration::from_millis(10)), ..Wants::default() };
    let mut moves = 0;
    loop {
        match machine.resume(&wants).unwrap() {
            Event::Clock => {
                move_over(&mut machine);
                moves += 1;
            }
            Event::Ended(outcome) => {
                assert_eq!(outcome, Outcome::Stopped(Stop::TimeLimit(limit), Location::At(0)));
                break;
            }
            event => panic!("{event:?}"),
        }
    }
    assert!((1..=50).contains(&moves), "{moves}");
    assert!(machine.stats().time >= limit);
}

#[test]
fn a_snapshot_is_restored_on_each_engine() {
    if is_without_kvm() {
        return;
    }
    // mov ebx, 'A'; mov ecx, [0x100]; in al, 0xe9; add al, bl; out 0xe9, al; inc byte [0x100]; jmp to in
    let code = [
        0xbb, 1, 0, 0, 0, 0x8b, 0x0d, 0, 1, 0, 0, // before
        0xe4, 0xe9, 0x00, 0xd8, 0xe6, 0xe9, 0xfe, 0x05, 0, 1, 0, 0, 0xeb, 0xf2,
    ];
    let choices = [EngineChoice::Soft, EngineChoice::Kvm, EngineChoice::Auto];
    for from in choices {
        let mut source = machine(from, &code, b"xyz");
        assert_eq!(source.run_until_input().unwrap(), None);
        let asking = source.snapshot().unwrap();
        assert_eq!(source.run().unwrap(), Outcome::EndOfInput);
        assert_eq!(source.streams().output.bytes(), b"yz{");
        let ended = source.snapshot().unwrap();
        for to in choices {
            let mut other = machine(to, &[0xf4], b"");
            for _ in 0..2 {
                let streams = Streams { input: "ab".into(), ..Streams::none() };
                other.restore(&asking, streams).unwrap();
                assert_eq!(other.run().unwrap(), Outcome::EndOfInput, "{from:?} {to:?}");
                assert_eq!(other.streams().output.bytes(), b"bc", "{from:?} {to:?}");
                let mut count = [0];
                other.read_ram(0x100, &mut count);
                assert_eq!(count, [2], "{from:?} {to:?}");
                other.restore(&ended, Streams::none()).unwrap();
                assert_eq!(other.run().unwrap(), Outcome::EndOfInput, "{from:?} {to:?}");
                other.read_ram(0x100, &mut count);
                assert_eq!(count, [3], "{from:?} {to:?}");
            }
        }
    }
}

/// A transfer that was made is not made again, wherever the run goes on.
#[test]
fn a_snapshot_after_an_input_has_that_input() {
    let engines: &[_] = match is_without_kvm() {
        true => &[EngineChoice::Soft],
        false => &[EngineChoice::Soft, EngineChoice::Kvm, EngineChoice::Auto],
    };
    // mov edx, 0xe9; mov edi, 0x1000; mov ecx, 3; rep insb; mov esi, 0x1000; mov ecx, 3; rep outsb; hlt
    let string = [
        0xba, 0xe9, 0, 0, 0, 0xbf, 0, 0x10, 0, 0, 0xb9, 3, 0, 0, 0, 0xf3, 0x6c, // in
        0xbe, 0, 0x10, 0, 0, 0xb9, 3, 0, 0, 0, 0xf3, 0x6e, 0xf4,
    ];
    // in al, 0xe9; out 0xe9, al; hlt
    let single = [0xe4, 0xe9, 0xe6, 0xe9, 0xf4];
    for &engine in engines {
        for (code, expected) in [(&string[..], &b"abc"[..]), (&single, b"a")] {
            let mut machine = machine(engine, code, b"abcdef");
            let wants = Wants { transfers: true, ..Wants::default() };
            let Event::Transfer(transfer) = machine.resume(&wants).unwrap() else { panic!("it reads") };
            assert!(expected.starts_with(&transfer.data), "{engine:?}: {transfer:?}");
            let snapshot = machine.snapshot().unwrap();
            assert_eq!(machine.run().unwrap(), Outcome::Halted);
            assert_eq!(machine.streams().output.bytes(), expected, "{engine:?}");
            let input = &expected[transfer.data.len()..];
            machine.restore(&snapshot, Streams { input: input.into(), ..Streams::none() }).unwrap();
            assert_eq!(machine.run().unwrap(), Outcome::Halted);
            assert_eq!(machine.streams().output.bytes(), expected, "{engine:?} after a restore");
        }
    }
}

#[test]
fn a_snapshot_of_another_memory_is_refused() {
    let program = Program::from_bytes(vec![0xf4]).unwrap();
    let mut small = Machine::builder()
        .engine(EngineChoice::Soft)
        .memory(flatland_machine::MemorySize::mib(1))
        .build(&program)
        .unwrap();
    let snapshot = small.snapshot().unwrap();
    let mut machine = Machine::builder().engine(EngineChoice::Soft).build(&program).unwrap();
    let error = machine.restore(&snapshot, Streams::none()).unwrap_err();
    assert!(matches!(error, RestoreError::OtherMemory));
    assert_eq!(
        error.to_string(),
        "the snapshot is of a machine with another memory: take one in a machine like this, or make this one like that"
    );
}

/// All of the state, on the way from KVM to the soft engine and back.
#[test]
fn the_state_at_entry_is_the_same_on_both() {
    if is_without_kvm() {
        return;
    }
    let mut states = [EngineChoice::Soft, EngineChoice::Kvm].map(|engine| {
        let mut machine = machine(engine, &[0xf4], b"");
        machine.engine().processor().unwrap().0
    });
    for state in &mut states {
        // KVM writes out what is as after a reset.
        (state.fpu, state.msrs, state.time_stamp) = (None, Vec::new(), 0);
    }
    assert_eq!(states[0], states[1]);
    assert_ne!(states[0].tr.rights & SegmentRegister::PRESENT, 0);
}

/// The registers of x87, MMX and SSE go with a run that is on KVM in the middle of a computation.
#[test]
fn floats_go_with_the_run() {
    if is_without_kvm() {
        return;
    }
    #[rustfmt::skip]
    let code = [
        0x0f, 0x20, 0xe0,                   //  0: mov eax, cr4
        0x0d, 0x00, 0x06, 0x00, 0x00,       //  3: or eax, 0x600
        0x0f, 0x22, 0xe0,                   //  8: mov cr4, eax
        0x68, 0x80, 0x7f, 0x00, 0x00,       //  b: push 0x7f80
        0x0f, 0xae, 0x14, 0x24,             // 10: ldmxcsr [esp], which rounds towards zero
        0x6a, 0x07,                         // 14: push 7
        0xf2, 0x0f, 0x2a, 0x04, 0x24,       // 16: cvtsi2sd xmm0, [esp]
        0xd9, 0xeb,                         // 1b: fldpi
        0xdb, 0x04, 0x24,                   // 1d: fild dword [esp]
        0xe6, 0xe9,                         // 20: out 0xe9, al
        0xe6, 0xe9,                         // 22: out 0xe9, al
        0xde, 0xc9,                         // 24: fmulp
        0xdb, 0x1c, 0x24,                   // 26: fistp dword [esp]
        0x58,                               // 29: pop eax
        0xf2, 0x0f, 0x51, 0xc0,             // 2a: sqrtsd xmm0, xmm0
        0xf2, 0x0f, 0x59, 0xc0,             // 2e: mulsd xmm0, xmm0
        0xf2, 0x0f, 0x2c, 0xc8,             // 32: cvttsd2si ecx, xmm0: just below 7
        0x01, 0xc8,                         // 36: add eax, ecx
        0xe6, 0xf4,                         // 38: out 0xf4, al
    ];
    let mut machine = machine(EngineChoice::Soft, &code, b"");
    for _ in 0..2 {
        let event = machine.resume(&Wants { transfers: true, ..Wants::default() }).unwrap();
        assert!(matches!(event, Event::Transfer(_)), "{event:?}");
        move_over(&mut machine);
    }
    assert_eq!(kind(&mut machine), EngineKind::Soft);
    assert_eq!(machine.run().unwrap(), Outcome::Exited(22 + 6));
}

/// The state of x87 goes with the run.
#[test]
fn the_state_of_x87_survives_a_stay_on_soft() {
    if is_without_kvm() {
        return;
    }
    // fninit; fldpi; out 0xe9, al; fstp qword [0x100]; mov al, [0x107]; out 0xf4, al
    let code = [0xdb, 0xe3, 0xd9, 0xeb, 0xe6, 0xe9, 0xdd, 0x1d, 0, 1, 0, 0, 0xa0, 7, 1, 0, 0, 0xe6, 0xf4];
    let mut machine = machine(EngineChoice::Kvm, &code, b"");
    match machine.resume(&Wants { transfers: true, ..Wants::default() }).unwrap() {
        Event::Transfer(_) => {}
        // A KVM that emulates has no x87.
        Event::Ended(Outcome::Fault(fault)) if matches!(fault.kind, FaultKind::Unsupported { .. }) => return,
        event => panic!("{event:?}"),
    }
    move_over(&mut machine);
    let snapshot = machine.snapshot().unwrap();
    machine.restore(&snapshot, Streams::none()).unwrap();
    move_over(&mut machine);
    // The last byte of 3.14159 as an f64.
    assert_eq!(machine.run().unwrap(), Outcome::Exited(0x40));
}
