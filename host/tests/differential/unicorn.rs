//! Unicorn as a subject.

use std::io::{self, PipeReader, PipeWriter, Read, Write};

use flatland::x86::Registers;
use flatland::x86::{Access, Fault, FaultKind, Location};
use iced_x86::Mnemonic;
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork};

use super::libunicorn::{MemoryAccess, Ports, Stop, Unicorn};
use super::subject::{After, Before, Bus, End, MOST_INSTRUCTIONS, MOST_TRANSFERRED, RAM, Subject};
use super::trace::Trace;

/// The GDT as KVM and soft have it at entry: its address, and the flat segments of code and data
/// (host/x86/src/entry.rs).
const GDT_ADDRESS: u64 = 0xfd00_0000;
const GDT: [u64; 3] = [0, 0x00cf_9b00_0000_ffff, 0x00cf_9300_0000_ffff];
/// Each iteration of a repeated instruction counts for Unicorn.
const MOST_ITERATIONS: u64 = MOST_INSTRUCTIONS * 64;

/// Debian's libunicorn, a fresh one for each case.
///
/// It runs in a process of its own: Unicorn terminates its process at a `lock` prefix that is not allowed, even in
/// code that it translates and does not run.
#[derive(Default)]
pub struct UnicornSubject {
    worker: Option<Worker>,
}

/// The process, and pipes to it and from it.
pub struct Worker {
    process: Pid,
    pub to: PipeWriter,
    pub from: PipeReader,
}

impl UnicornSubject {
    pub const NAME: &str = "unicorn";

    /// Unicorn. Fails if it is not installed.
    pub fn to_compare_with() -> Self {
        Unicorn::new(RAM as usize, GDT_ADDRESS, &GDT)
            .map_or_else(|error| panic!("{error}"), |_| Self::default())
    }
}

impl Subject for UnicornSubject {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn refuses(&self, trace: &Trace) -> Option<&'static str> {
        let has_int = trace.executed.iter().any(|instruction| instruction.mnemonic() == Mnemonic::Int);
        has_int.then_some("Unicorn hands int to its hook, and has no IDT to look at")
    }

    fn run(&mut self, before: &Before) -> After {
        let worker = self.worker.get_or_insert_with(|| Worker::start(answer));
        let after = worker.to.write_all(&request(before)).and_then(|()| received(&mut worker.from));
        after.unwrap_or_else(|_| {
            self.worker = None;
            let Before { registers, ram } = before.clone();
            After { end: End::Died, registers, ram, bus: Bus::default() }
        })
    }
}

impl Worker {
    /// A process that answers one case after the other.
    pub fn start(answer: fn(&PipeReader, &PipeWriter) -> io::Result<()>) -> Self {
        let (at_worker, to) = io::pipe().expect("there can be a pipe");
        let (from, at_home) = io::pipe().expect("there can be a pipe");
        // SAFETY: the child has only this thread. It calls `answer`, which waits for no other thread, and exits.
        match unsafe { fork() }.expect("there can be another process") {
            ForkResult::Parent { child } => Self { process: child, to, from },
            ForkResult::Child => {
                drop((to, from));
                // SAFETY: nothing else writes there in this process. Unicorn's messages when it terminates are not
                // wanted.
                unsafe { libc::close(libc::STDERR_FILENO) };
                while answer(&at_worker, &at_home).is_ok() {}
                // SAFETY: the child has no cleanup to do at its exit: everything belongs to the parent.
                unsafe { libc::_exit(0) }
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may wait for another case.
        let _ = kill(self.process, Signal::SIGKILL);
        let _ = waitpid(self.process, None);
    }
}

/// A case, as the worker reads it: registers and RAM.
pub fn request(before: &Before) -> Vec<u8> {
    let mut bytes: Vec<u8> = values(&before.registers).into_iter().flat_map(u32::to_le_bytes).collect();
    bytes.extend(&before.ram);
    bytes
}

pub fn values(registers: &Registers) -> [u32; 10] {
    let &Registers { eax, ebx, ecx, edx, esi, edi, ebp, esp, eip, eflags } = registers;
    [eax, ebx, ecx, edx, esi, edi, ebp, esp, eip, eflags]
}

fn from_values([eax, ebx, ecx, edx, esi, edi, ebp, esp, eip, eflags]: [u32; 10]) -> Registers {
    Registers { eax, ebx, ecx, edx, esi, edi, ebp, esp, eip, eflags }
}

pub fn read_registers(mut from: impl Read) -> io::Result<Registers> {
    let mut values = [0; 10];
    for value in &mut values {
        *value = read_word(&mut from)?;
    }
    Ok(from_values(values))
}

pub fn read_word(mut from: impl Read) -> io::Result<u32> {
    let mut bytes = [0; 4];
    from.read_exact(&mut bytes).map(|()| u32::from_le_bytes(bytes))
}

pub fn read_ram(mut from: impl Read) -> io::Result<Vec<u8>> {
    let mut ram = vec![0; RAM as usize];
    from.read_exact(&mut ram).map(|()| ram)
}

/// The transfers at the ports: the port, the width, whether it is input, and the value of each.
struct Transfers(Vec<[u32; 4]>);

impl Ports for Transfers {
    fn input(&mut self, port: u16, width: u8) -> u32 {
        let bytes_before: u32 = self.0.iter().map(|[_, width, ..]| width).sum();
        // As `Bus` does it.
        let value = u32::from_le_bytes([0, 1, 2, 3].map(|index| (bytes_before + index) as u8));
        self.0.push([port.into(), width.into(), 1, value]);
        value
    }

    fn output(&mut self, port: u16, width: u8, value: u32) {
        self.0.push([port.into(), width.into(), 0, value]);
    }
}

/// In the worker: runs a case and sends the result.
fn answer(mut from: &PipeReader, mut to: &PipeWriter) -> io::Result<()> {
    let registers = read_registers(&mut from)?;
    let ram = read_ram(&mut from)?;
    let mut unicorn = Unicorn::new(RAM as usize, GDT_ADDRESS, &GDT).map_err(io::Error::other)?;
    unicorn.write(0, &ram);
    unicorn.set_registers(&registers);
    let mut transfers = Transfers(Vec::new());
    let stop = unicorn.run(&mut transfers, Some(MOST_ITERATIONS));
    let end = match stop {
        Stop::Halt => [0, 0],
        Stop::Interrupt(vector) => [1, vector],
        Stop::InvalidInstruction => [1, 6],
        Stop::Endless => [2, 0],
        Stop::Memory { access: MemoryAccess::Read, address } => [3, address],
        Stop::Memory { access: MemoryAccess::Write, address } => [4, address],
        Stop::Memory { access: MemoryAccess::Fetch, address } => [5, address],
    };
    let words = end
        .into_iter()
        .chain(values(&unicorn.registers()))
        .chain([transfers.0.len() as u32])
        .chain(transfers.0.into_iter().flatten());
    let mut bytes: Vec<u8> = words.flat_map(u32::to_le_bytes).collect();
    let start = bytes.len();
    bytes.resize(start + RAM as usize, 0);
    unicorn.read(0, &mut bytes[start..]);
    to.write_all(&bytes)
}

/// Reads what [`answer`] sent. Fails if the worker ended before.
fn received(mut from: impl Read) -> io::Result<After> {
    let access = |access, address: u32| {
        // An operand may begin in RAM.
        fault(FaultKind::OutsideRam { access, address: address.max(RAM), ram_size: RAM })
    };
    let mut end = match (read_word(&mut from)?, read_word(&mut from)?) {
        (0, _) => End::Halt,
        // Unicorn gives no error code. EIP is the location.
        (1, vector) => fault(FaultKind::Exception { vector: vector as u8, error_code: None }),
        (2, _) => End::Endless,
        (3, address) => access(Access::Read, address),
        (4, address) => access(Access::Write, address),
        (_, address) => access(Access::Execute, address),
    };
    let registers = read_registers(&mut from)?;
    let mut bus = Bus::default();
    for _ in 0..read_word(&mut from)? {
        let (port, width) = (read_word(&mut from)? as u16, read_word(&mut from)? as u8);
        let (is_input, value) = (read_word(&mut from)?, read_word(&mut from)?);
        bus.note(port, width, is_input != 0, &value.to_le_bytes()[..width.into()]);
    }
    if bus.bytes > MOST_TRANSFERRED {
        end = End::Endless;
    }
    Ok(After { end, registers, ram: read_ram(&mut from)?, bus })
}

fn fault(kind: FaultKind) -> End {
    End::Fault(Fault { kind, location: Location::Unknown })
}
