//! Runs hand-assembled images in a test, on every engine.

// Each test program uses only a part of this.
#![allow(dead_code)]

use std::env;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use flatland::EngineChoice;
use flatland::x86::{Engine, Stops};
use flatland::x86::{Fault, Location};
use flatland::{Image, Input, Machine, MemoryMap, MemorySize, Outcome, Output, Streams};

/// The result of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    pub outcome: Outcome,
    pub output: Vec<u8>,
    pub diagnostics: Vec<u8>,
}

/// The variable that skips the tests of KVM; its value is the reason. `cargo xtask test` sets it if there is no KVM.
/// Without it, a test that needs KVM and finds none fails.
pub const WITHOUT_KVM: &str = "FLATLAND_TEST_WITHOUT_KVM";

/// The engines to test.
pub fn engines() -> &'static [EngineChoice] {
    match env::var_os(WITHOUT_KVM) {
        Some(_) => &[EngineChoice::Soft],
        None => &[EngineChoice::Soft, EngineChoice::Kvm, EngineChoice::Auto],
    }
}

/// The cells of each row of the table with this head in docs/reference.md.
pub fn reference_table(head: &str) -> Vec<Vec<&'static str>> {
    const REFERENCE: &str = include_str!("../../../docs/reference.md");
    let table = REFERENCE.split(head).nth(1).unwrap_or_else(|| panic!("there is no table `{head}`"));
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

/// A machine on this engine with this code at 0 and this input.
pub fn machine_on(engine: EngineChoice, code: &[u8], input: &[u8]) -> Machine {
    machine_with(engine, MemorySize::default(), code, input)
}

/// The same with this memory.
pub fn machine_with(
    engine: EngineChoice,
    memory: impl Into<MemoryMap>,
    code: &[u8],
    input: &[u8],
) -> Machine {
    let engines = engine
        .open(memory, &Stops::default())
        .unwrap_or_else(|error| panic!("this test needs KVM, and {error}"));
    let image = Image::from_bytes(code.to_vec()).expect("code is not empty");
    let streams = Streams {
        input: Input::from_bytes(input.to_vec()),
        output: Output::memory(),
        diagnostics: Output::memory(),
    };
    let mut machine = Machine::new(engines, &image, streams).expect("the code fits");
    // So that no test hangs. Tests of the limit set their own.
    machine.set_time_limit(Duration::from_secs(20));
    machine
}

/// A machine on each engine, with and without fast transfers.
pub fn machines(code: &[u8], input: &[u8]) -> impl Iterator<Item = Machine> {
    engines().iter().flat_map(move |engine| {
        [true, false].map(|fast| {
            let mut machine = machine_on(*engine, code, input);
            machine.set_fast_transfers(fast);
            machine
        })
    })
}

/// Runs this code with this input to its end on each engine, with and without fast transfers. Checks that all results
/// agree, and returns the most exact one.
pub fn run(code: &[u8], input: &[u8]) -> Run {
    agreed(machines(code, input), code)
}

/// The same for machines that the caller has made, one for each engine.
pub fn agreed(machines: impl Iterator<Item = Machine>, code: &[u8]) -> Run {
    let mut runs = machines.map(finish);
    let exact = runs.next().expect("there is an engine");
    for other in runs {
        assert_agree(&exact, &other, code);
    }
    exact
}

/// Runs a machine to its end.
pub fn finish(mut machine: Machine) -> Run {
    let outcome = machine.run().expect("the host can do its work");
    let streams = machine.streams();
    Run {
        outcome,
        output: streams.output.bytes().to_vec(),
        diagnostics: streams.diagnostics.bytes().to_vec(),
    }
}

/// Checks that two runs are the same, except for the location of a fault: KVM may know only where the instruction
/// ends.
fn assert_agree(exact: &Run, other: &Run, code: &[u8]) {
    let mut expected = exact.clone();
    if let (Outcome::Fault(at), Outcome::Fault(Fault { location: Location::EndsAt(_), .. })) =
        (&mut expected.outcome, &other.outcome)
        && let Location::At(start) = at.location
    {
        at.location = Location::EndsAt(start + length(code, start));
    }
    assert_eq!(*other, expected, "by KVM, and by the soft engine, of {:02x?}", &code[..code.len().min(64)]);
}

/// The length of the instruction at this address.
fn length(code: &[u8], address: u32) -> u32 {
    iced_x86::Decoder::new(32, &code[address as usize..], iced_x86::DecoderOptions::NONE).decode().len()
        as u32
}

/// A run that ended like this with this output, and no diagnostics.
pub fn ended(outcome: Outcome, output: &[u8]) -> Run {
    Run { outcome, output: output.to_vec(), diagnostics: Vec::new() }
}

/// Interrupts an engine's run after this time, unless this is dropped before.
pub struct InterruptAfter(Option<(Sender<()>, JoinHandle<()>)>);

impl InterruptAfter {
    pub fn new(engine: &dyn Engine, time: Duration) -> Self {
        let handle = engine.interrupt_handle();
        let (sender, receiver) = channel::<()>();
        let thread = thread::spawn(move || {
            if let Err(RecvTimeoutError::Timeout) = receiver.recv_timeout(time) {
                handle.interrupt();
            }
        });
        Self(Some((sender, thread)))
    }
}

impl Drop for InterruptAfter {
    fn drop(&mut self) {
        if let Some((sender, thread)) = self.0.take() {
            drop(sender);
            thread.join().expect("it does not panic");
        }
    }
}
