//! The subjects that are compared. Each takes a state of the processor and RAM, and runs it to its end.

use std::time::Duration;

use flatland::MemorySize;
use flatland::kvm::KvmEngine;
use flatland::soft::SoftEngine;
use flatland::x86::{Engine, Exit, Registers, Stops};
use flatland::x86::{Fault, FaultKind};

use super::common::{InterruptAfter, WITHOUT_KVM};
use super::trace::Trace;

/// The size of every subject's RAM, small enough to compare all of it. It contains all 16-bit addresses.
pub const RAM: u32 = 64 << 10;

/// A case at its start.
#[derive(Clone)]
pub struct Before {
    pub registers: Registers,
    /// All of RAM.
    pub ram: Vec<u8>,
}

/// A case at its end.
#[derive(Clone, Debug, PartialEq)]
pub struct After {
    pub end: End,
    pub registers: Registers,
    pub ram: Vec<u8>,
    pub bus: Bus,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum End {
    Halt,
    Fault(Fault),
    /// It had not ended after [`MOST_INSTRUCTIONS`] or [`MOST_TRANSFERRED`].
    Endless,
    /// It did not return within [`PATIENCE`].
    Lost,
    /// Its process has ended.
    Died,
}

impl End {
    /// Whether the subject does not support the instruction.
    pub fn is_refusal(&self) -> bool {
        matches!(self, End::Fault(Fault { kind: FaultKind::Unsupported { .. }, .. }))
    }
}

/// The transfers at the ports. Input bytes count up, so that consecutive ones differ.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bus {
    /// Each run of transfers at one port, of one width, in one direction.
    transfers: Vec<(u16, u8, bool, Vec<u8>)>,
    pub bytes: usize,
}

impl Bus {
    pub fn input(&mut self, port: u16, width: u8, data: &mut [u8]) {
        for (index, byte) in data.iter_mut().enumerate() {
            *byte = (self.bytes + index) as u8;
        }
        self.note(port, width, true, data);
    }

    pub fn note(&mut self, port: u16, width: u8, is_input: bool, data: &[u8]) {
        self.bytes += data.len();
        match self.transfers.last_mut() {
            Some((last_port, last_width, was_input, so_far))
                if (*last_port, *last_width, *was_input) == (port, width, is_input) =>
            {
                so_far.extend(data);
            }
            _ => self.transfers.push((port, width, is_input, data.to_vec())),
        }
    }
}

/// The most instructions of a case.
pub const MOST_INSTRUCTIONS: u64 = 4096;
/// The most bytes that a case transfers at ports: some KVMs take 10 us for each.
pub const MOST_TRANSFERRED: usize = 2048;
/// The time limit of the other subject for that many instructions.
const PATIENCE: Duration = Duration::from_secs(2);

/// Something that runs cases.
pub trait Subject {
    /// Its name.
    fn name(&self) -> &'static str;

    /// Why this subject cannot run the case with this trace.
    fn refuses(&self, _trace: &Trace) -> Option<&'static str> {
        None
    }

    /// Runs a case in a fresh machine.
    fn run(&mut self, before: &Before) -> After;
}

/// The engine `soft`.
pub struct Soft;

impl Subject for Soft {
    fn name(&self) -> &'static str {
        "soft"
    }

    fn run(&mut self, before: &Before) -> After {
        let mut engine = soft_engine(before);
        engine
            .set_stops(&Stops { instructions: Some(MOST_INSTRUCTIONS), ..Stops::default() })
            .expect("it counts instructions");
        let mut bus = Bus::default();
        let end = to_the_end(&mut engine, &mut bus).unwrap_or(End::Endless);
        after(&mut engine, end, bus)
    }
}

/// A soft engine at the start of a case.
pub fn soft_engine(before: &Before) -> SoftEngine {
    let mut engine = SoftEngine::new(ram_size());
    set(&mut engine, before);
    engine
}

/// The engine `kvm`.
pub struct Kvm;

impl Kvm {
    /// KVM, unless [`WITHOUT_KVM`] is set.
    pub fn to_compare_with() -> Option<Self> {
        if let Some(why) = std::env::var_os(WITHOUT_KVM) {
            println!("not compared with KVM: {}", why.display());
            return None;
        }
        Some(Self)
    }
}

impl Subject for Kvm {
    fn name(&self) -> &'static str {
        "kvm"
    }

    fn run(&mut self, before: &Before) -> After {
        let mut engine =
            KvmEngine::new(ram_size()).unwrap_or_else(|error| panic!("this test needs KVM, and {error}"));
        set(&mut engine, before);
        let alarm = InterruptAfter::new(&engine, PATIENCE);
        let mut bus = Bus::default();
        let end = to_the_end(&mut engine, &mut bus).unwrap_or(End::Endless);
        drop(alarm);
        after(&mut engine, end, bus)
    }
}

pub fn ram_size() -> MemorySize {
    MemorySize::from_bytes(RAM.into()).expect("a size that machines have")
}

pub fn set(engine: &mut (impl Engine + ?Sized), before: &Before) {
    assert_eq!(engine.write_ram(0, &before.ram), RAM as usize);
    engine.set_registers(&before.registers).expect("the registers can be set");
}

/// Runs an engine until it ends. Returns `None` at a stop of [`Engine::set_stops`].
pub fn to_the_end(engine: &mut (impl Engine + ?Sized), bus: &mut Bus) -> Option<End> {
    loop {
        match engine.run().expect("the engine can do its work") {
            Exit::In { port, width, data } => bus.input(port, width, data),
            Exit::Out { port, width, data } => bus.note(port, width, false, data),
            Exit::Halt => return Some(End::Halt),
            Exit::Fault(fault) => return Some(End::Fault(fault)),
            Exit::Interrupted => return Some(End::Lost),
            Exit::Debug(_) => return None,
        }
        if bus.bytes > MOST_TRANSFERRED {
            return Some(End::Endless);
        }
    }
}

/// The state at the end.
pub fn after(engine: &mut (impl Engine + ?Sized), end: End, bus: Bus) -> After {
    let registers = engine.registers().expect("the registers can be read");
    let mut ram = vec![0; RAM as usize];
    engine.read_ram(0, &mut ram);
    After { end, registers, ram, bus }
}
