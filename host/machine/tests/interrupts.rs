//! Interrupts of many machines in many threads, which are independent of each other.

use std::env;
use std::io::{self, PipeReader, Read, Write};
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use flatland_machine::{
    Device, EngineChoice, Event, Host, Input, InterruptHandle, Machine, Outcome, Output, Program, Stop,
    Streams, Unfinished, Wants,
};
use flatland_x86::Registers;

/// The engines to test. Without KVM a test fails, unless this variable says that there is none.
fn engines() -> &'static [EngineChoice] {
    match env::var_os("FLATLAND_TEST_WITHOUT_KVM") {
        None if cfg!(feature = "kvm") => &[EngineChoice::Soft, EngineChoice::Kvm],
        _ => &[EngineChoice::Soft],
    }
}

fn machine(engine: EngineChoice, code: &[u8]) -> Machine {
    let program = Program::from_bytes(code.to_vec()).expect("there is code");
    let built = Machine::builder().engine(engine).build(&program);
    built.unwrap_or_else(|error| panic!("this test needs KVM, and {error}"))
}

/// The signals that this process catches or ignores. Machines must not change them.
fn signal_handlers() -> Vec<String> {
    if !cfg!(target_os = "linux") {
        return Vec::new();
    }
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells");
    status
        .lines()
        .filter(|line| line.starts_with("SigCgt") || line.starts_with("SigIgn"))
        .map(Into::into)
        .collect()
}

/// inc eax; jmp 0
const COUNT: &[u8] = &[0x40, 0xeb, 0xfd];

#[test]
fn two_threads_with_two_machines_each_are_interrupted_a_thousand_times() {
    const TIMES: usize = 1000;
    let handlers = signal_handlers();
    for engine in engines() {
        let (send_handle, handles) = channel::<InterruptHandle>();
        let answered = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..2 {
                let send_handle = send_handle.clone();
                let answered = &answered;
                scope.spawn(move || {
                    let mut machines = [machine(*engine, COUNT), machine(*engine, COUNT)];
                    // The two run in turn, so each is also interrupted while the other runs.
                    machines.iter().for_each(|machine| send_handle.send(machine.interrupt_handle()).unwrap());
                    for turn in 0..TIMES / 2 {
                        let machine = &mut machines[turn % 2];
                        assert_eq!(
                            machine.resume(&Wants::nothing()).unwrap(),
                            Event::Interrupted,
                            "{engine:?}"
                        );
                        answered.fetch_add(1, Ordering::SeqCst);
                    }
                    // The many interrupts have not changed the guest's state.
                    for machine in &mut machines {
                        machine.resume(&Wants::nothing()).unwrap();
                        let Registers { eip, ebx, .. } = machine.registers().unwrap();
                        assert!(matches!(eip, 0 | 1) && ebx == 0, "{engine:?}");
                    }
                });
            }
            let handles: Vec<_> = handles.iter().take(4).collect();
            // Two of the four machines run. An interrupt of another one stays pending until its next run.
            while answered.load(Ordering::SeqCst) < TIMES {
                handles.iter().for_each(InterruptHandle::interrupt);
                thread::yield_now();
            }
            // For the last run of each machine.
            for _ in 0..100 {
                handles.iter().for_each(InterruptHandle::interrupt);
                thread::sleep(Duration::from_millis(1));
            }
        });
        assert_eq!(answered.load(Ordering::SeqCst), TIMES);
    }
    assert_eq!(signal_handlers(), handlers, "the library has installed a signal handler");
}

#[test]
fn an_interrupt_before_the_run_is_not_lost_and_counts_once() {
    for engine in engines() {
        let mut machine = machine(*engine, &[0xf4]);
        let handle = machine.interrupt_handle();
        handle.interrupt();
        handle.clone().interrupt();
        assert!(matches!(machine.run().unwrap(), Outcome::Stopped(Stop::Interrupted, _)), "{engine:?}");
        assert_eq!(machine.run().unwrap(), Outcome::Halted, "{engine:?}");
        handle.interrupt();
    }
}

#[test]
fn a_run_goes_on_in_another_thread() {
    for engine in engines() {
        let mut machine = machine(*engine, COUNT);
        let mut counts = vec![0];
        // The time may be over before the guest has run: in another thread KVM_RUN begins with an RCU grace period.
        let mut time = Duration::from_millis(2);
        while counts.len() < 4 {
            let wants = Wants { clock: Some(time), ..Wants::default() };
            time += Duration::from_millis(2);
            let running = thread::spawn(move || {
                assert_eq!(machine.resume(&wants).unwrap(), Event::Clock);
                machine
            });
            machine = running.join().unwrap();
            counts.push(machine.registers().unwrap().eax);
            counts.dedup();
            assert!(counts.is_sorted(), "{engine:?}: {counts:?}");
        }
    }
}

#[test]
fn a_wait_for_input_is_interrupted_and_goes_on_from_its_beginning() {
    // mov ecx, 4; mov edx, 0xe9; mov edi, 0x1000; rep insb; hlt
    let code = [0xb9, 4, 0, 0, 0, 0xba, 0xe9, 0, 0, 0, 0xbf, 0, 0x10, 0, 0, 0xf3, 0x6c, 0xf4];
    for engine in engines() {
        for through_reader in [false, true] {
            let (pipe, mut sender) = io::pipe().unwrap();
            let input = if through_reader { Input::from_reader(pipe) } else { pipe.into() };
            let program = Program::from_bytes(code.to_vec()).unwrap();
            let mut machine = Machine::builder().engine(*engine).input(input).build(&program).unwrap();
            // Only a part of the input arrives before the interrupt.
            sender.write_all(b"ab").unwrap();
            for _ in 0..2 {
                let handle = machine.interrupt_handle();
                let interrupting = thread::spawn(move || {
                    thread::sleep(Duration::from_millis(3));
                    handle.interrupt();
                });
                assert_eq!(machine.resume(&Wants::nothing()).unwrap(), Event::Interrupted, "{engine:?}");
                interrupting.join().unwrap();
            }
            sender.write_all(b"cd").unwrap();
            assert_eq!(machine.run().unwrap(), Outcome::Halted);
            let mut read = [0; 4];
            machine.read_ram(0x1000, &mut read);
            assert_eq!(&read, b"abcd", "{engine:?}");
        }
    }
}

#[test]
fn output_that_nobody_reads_can_be_interrupted_and_is_not_lost() {
    // A megabyte: mov ecx, 0x100000; mov edx, 0xe9; rep outsb; hlt
    let code = [0xb9, 0, 0, 0x10, 0, 0xba, 0xe9, 0, 0, 0, 0xf3, 0x6e, 0xf4];
    for engine in engines() {
        let (mut pipe, sender) = io::pipe().unwrap();
        let program = Program::from_bytes(code.to_vec()).unwrap();
        let mut machine = Machine::builder().engine(*engine).output(sender).build(&program).unwrap();
        let handle = machine.interrupt_handle();
        let interrupting = thread::spawn(move || {
            thread::sleep(Duration::from_millis(50));
            handle.interrupt();
        });
        assert_eq!(machine.resume(&Wants::nothing()).unwrap(), Event::Interrupted, "{engine:?}");
        interrupting.join().unwrap();
        let reading = thread::spawn(move || {
            let mut bytes = Vec::new();
            pipe.read_to_end(&mut bytes).unwrap();
            bytes
        });
        assert_eq!(machine.run().unwrap(), Outcome::Halted);
        drop(machine);
        let bytes = reading.join().unwrap();
        assert_eq!(bytes.len(), 1 << 20, "{engine:?}");
        assert_eq!(bytes[..code.len()], code);
    }
}

#[test]
fn the_clock_is_an_event_while_it_runs_and_while_it_waits() {
    // jmp $; in al, 0xe9
    for code in [&[0xeb, 0xfe][..], &[0xe4, 0xe9, 0xf4]] {
        for engine in engines() {
            let (pipe, sender) = io::pipe().unwrap();
            let program = Program::from_bytes(code.to_vec()).unwrap();
            let mut machine = Machine::builder().engine(*engine).input(pipe).build(&program).unwrap();
            let wants = Wants { clock: Some(Duration::from_millis(2)), ..Wants::default() };
            for _ in 0..5 {
                let start = Instant::now();
                assert_eq!(machine.resume(&wants).unwrap(), Event::Clock, "{engine:?}");
                assert!(start.elapsed() >= Duration::from_millis(2));
            }
            drop(sender);
        }
    }
}

#[test]
fn a_time_limit_counts_running_and_not_being_held() {
    for engine in engines() {
        let mut machine = machine(*engine, COUNT);
        machine.set_time_limit(Duration::from_millis(100));
        let wants = Wants { clock: Some(Duration::from_millis(5)), ..Wants::default() };
        let mut events = 0;
        let outcome = loop {
            match machine.resume(&wants).unwrap() {
                Event::Clock => events += 1,
                Event::Ended(outcome) => break outcome,
                event => panic!("{event:?}"),
            }
            // Longer than the limit, once.
            if events == 1 {
                thread::sleep(Duration::from_millis(150));
            }
        };
        assert!(events >= 2, "{engine:?}: the run ended because it was held");
        assert!(matches!(outcome, Outcome::Stopped(Stop::TimeLimit(_), _)), "{outcome:?}");
        assert!(machine.stats().time >= Duration::from_millis(100));
    }
}

#[test]
fn a_limit_of_instructions_counts_from_entry_also_after_a_restore() {
    let mut machine = machine(EngineChoice::Soft, COUNT);
    let start = machine.snapshot().unwrap();
    let wants = Wants { instructions: Some(10), ..Wants::default() };
    let Event::Stopped(stopped) = machine.resume(&wants).unwrap() else { panic!() };
    assert!(stopped.instructions);
    let middle = machine.snapshot().unwrap();
    machine.set_instruction_limit(25).unwrap();
    for (snapshot, before) in [(&middle, 10), (&start, 0), (&middle, 10)] {
        machine.restore(snapshot, Streams::none()).unwrap();
        assert_eq!(machine.engine().instructions(), Some(before));
        let outcome = machine.run().unwrap();
        assert!(matches!(outcome, Outcome::Stopped(Stop::InstructionLimit(25), _)), "{outcome:?}");
        assert_eq!(machine.engine().instructions(), Some(25));
    }
}

#[test]
fn output_comes_in_time_while_the_guest_computes() {
    // mov al, 'x'; out 0xe9, al; jmp $
    let code = [0xb0, b'x', 0xe6, 0xe9, 0xeb, 0xfe];
    for engine in engines() {
        let (mut pipe, sender) = io::pipe().unwrap();
        let program = Program::from_bytes(code.to_vec()).unwrap();
        let mut machine =
            Machine::builder().engine(*engine).output(Output::from(sender)).build(&program).unwrap();
        let handle = machine.interrupt_handle();
        let reading = thread::spawn(move || {
            let mut byte = [0];
            pipe.read_exact(&mut byte).unwrap();
            // Interrupts only after the byte has arrived, so that the interrupt cannot have caused the flush.
            handle.interrupt();
            byte
        });
        assert!(matches!(machine.run().unwrap(), Outcome::Stopped(Stop::Interrupted, _)), "{engine:?}");
        assert_eq!(&reading.join().unwrap(), b"x");
    }
}

/// A machine whose output is a full pipe. Also returns the pipe's reader.
fn with_a_full_pipe(engine: EngineChoice, code: &[u8]) -> (Machine, PipeReader) {
    let (reader, mut writer) = io::pipe().unwrap();
    // The capacity of a pipe (pipe(7)).
    writer.write_all(&[b'.'; 64 << 10]).unwrap();
    let program = Program::from_bytes(code.to_vec()).expect("there is code");
    let built = Machine::builder().engine(engine).output(writer).build(&program);
    (built.unwrap_or_else(|error| panic!("this test needs KVM, and {error}")), reader)
}

fn interrupt_later(machine: &Machine) -> thread::JoinHandle<()> {
    let handle = machine.interrupt_handle();
    thread::spawn(move || {
        thread::sleep(Duration::from_millis(100));
        handle.interrupt();
    })
}

#[test]
#[cfg_attr(windows, ignore = "a pipe takes 4 KiB there")]
fn an_end_whose_output_is_interrupted_stays_the_end() {
    // out 0xe9, al; hlt; mov al, 5; out 0xf4, al
    for engine in engines() {
        let (mut machine, mut reader) = with_a_full_pipe(*engine, &[0xe6, 0xe9, 0xf4, 0xb0, 5, 0xe6, 0xf4]);
        for _ in 0..2 {
            let interrupting = interrupt_later(&machine);
            assert_eq!(machine.resume(&Wants::nothing()).unwrap(), Event::Interrupted, "{engine:?}");
            interrupting.join().unwrap();
        }
        machine.set_time_limit(machine.stats().time + Duration::from_millis(50));
        let event = machine.resume(&Wants::nothing()).unwrap();
        assert!(
            matches!(event, Event::Ended(Outcome::Stopped(Stop::TimeLimit(_), _))),
            "{engine:?}: {event:?}"
        );
        machine.set_time_limit(None);
        let reading = thread::spawn(move || {
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).unwrap();
            bytes.len()
        });
        let ended = Event::Ended(Outcome::Halted);
        assert_eq!(machine.resume(&Wants::nothing()).unwrap(), ended, "{engine:?}");
        assert_eq!(machine.resume(&Wants::nothing()).unwrap(), ended, "{engine:?}");
        drop(machine);
        assert_eq!(reading.join().unwrap(), (64 << 10) + 1, "{engine:?}");
    }
}

#[test]
#[cfg_attr(windows, ignore = "a pipe takes 4 KiB there")]
fn what_was_sent_behind_output_that_nobody_reads_is_kept() {
    // out 0xe9, al; mov al, '!'; out DIAGNOSTICS, al; jmp $
    let diagnostics = flatland_contract::Port::Diagnostics.number() as u8;
    for engine in engines() {
        let code = [0xe6, 0xe9, 0xb0, b'!', 0xe6, diagnostics, 0xeb, 0xfe];
        let (mut machine, _reader) = with_a_full_pipe(*engine, &code);
        let interrupting = interrupt_later(&machine);
        assert!(matches!(machine.run().unwrap(), Outcome::Stopped(Stop::Interrupted, _)), "{engine:?}");
        interrupting.join().unwrap();
        assert_eq!(machine.streams().diagnostics.bytes(), b"!", "{engine:?}");
    }
}

/// Panics at each write.
struct Panics;

impl Device for Panics {
    fn write(&mut self, _: u16, _: u8, _: &mut Host) -> Result<(), Unfinished> {
        panic!("a device's own fault, which this test expects")
    }
}

/// The signals that this thread blocks.
fn blocked_signals() -> String {
    if !cfg!(target_os = "linux") {
        return String::new();
    }
    let status = std::fs::read_to_string("/proc/thread-self/status").expect("Linux tells");
    status.lines().find(|line| line.starts_with("SigBlk")).expect("it is there").into()
}

#[test]
fn a_device_that_panics_leaves_the_thread_as_it_was() {
    for engine in engines() {
        let before = blocked_signals();
        let program = Program::from_bytes(vec![0xe6, 0x40, 0xf4]).expect("there is code");
        let builder = Machine::builder().engine(*engine).device(0x40, Panics);
        let mut machine = builder.build(&program).unwrap_or_else(|error| panic!("this test needs {error}"));
        let panicked = panic::catch_unwind(AssertUnwindSafe(|| machine.run()));
        assert!(panicked.is_err(), "{engine:?}");
        assert_eq!(blocked_signals(), before, "{engine:?}");
    }
}
