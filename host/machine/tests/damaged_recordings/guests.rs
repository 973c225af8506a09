//! Small guests, and how they are recorded and replayed.

use std::io;
use std::time::Duration;

use flatland_machine::{
    BuildError, Builder, Device, EngineChoice, Host, Machine, Outcome, Output, Program, Recorder, Recording,
    RunError, Unfinished, Wants, devices,
};

/// A device at many ports, which takes any width.
pub struct Counter(pub u8);

impl Device for Counter {
    fn ports(&self) -> u16 {
        16
    }

    fn takes_width(&self, _: u16, _: u8) -> bool {
        true
    }

    fn read(&mut self, _: u16, _: &mut Host) -> Result<u8, Unfinished> {
        self.0 = self.0.wrapping_add(1);
        Ok(self.0)
    }
}

/// Guests that read in many ways.
const GUESTS: [&[u8]; 7] = [
    // Byte by byte. 0: in al, 0xe9; out 0xe9, al; jmp 0
    &[0xe4, 0xe9, 0xe6, 0xe9, 0xeb, 0xfa],
    // Many at once. mov edx, 0xe9; 5: mov edi, 0x2000; mov ecx, 0x80; rep insb; mov esi, 0x2000; mov ecx, 0x40;
    // rep outsb; jmp 5
    &[
        0xba, 0xe9, 0, 0, 0, 0xbf, 0, 0x20, 0, 0, 0xb9, 0x80, 0, 0, 0, 0xf3, 0x6c, 0xbe, 0, 0x20, 0, 0, 0xb9,
        0x40, 0, 0, 0, 0xf3, 0x6e, 0xeb, 0xe6,
    ],
    // At a few ports. 0: in al, 0xeb; in al, 0xe9; in al, 0xee; in al, 0xe9; out 0xe9, al; jmp 0
    &[0xe4, 0xeb, 0xe4, 0xe9, 0xe4, 0xee, 0xe4, 0xe9, 0xe6, 0xe9, 0xeb, 0xf4],
    // At more ports than have a number, with all widths; sends nothing. 0: in al, 0xec; in al, 0xed; in al, 0xee;
    // in al, 0xef; in eax, 0x40; in ax, 0x42; in al, 0x44; in eax, 0x46; in al, 0x48; in al, 0xe9; jmp 0
    &[
        0xe4, 0xec, 0xe4, 0xed, 0xe4, 0xee, 0xe4, 0xef, 0xe5, 0x40, 0x66, 0xe5, 0x42, 0xe4, 0x44, 0xe5, 0x46,
        0xe4, 0x48, 0xe4, 0xe9, 0xeb, 0xe9,
    ],
    // in al, 0xe9; out 0xf4, al
    &[0xe4, 0xe9, 0xe6, 0xf4],
    // in al, 0xe9; out 0xea, al; ud2
    &[0xe4, 0xe9, 0xe6, 0xea, 0x0f, 0x0b],
    // Short runs, so that the block is packed. mov ecx, 600; 5: in al, 0xe9; in al, 0xef; dec ecx; jnz 5; hlt
    &[0xb9, 0x58, 0x02, 0, 0, 0xe4, 0xe9, 0xe4, 0xef, 0x49, 0x75, 0xf9, 0xf4],
];

pub fn programs() -> Vec<Program> {
    GUESTS.iter().map(|code| Program::from_bytes(code.to_vec()).unwrap()).collect()
}

pub fn builder() -> Builder {
    let sink = || Output::from_writer(io::sink());
    // A case that computes for longer than the limit of instructions is a failure.
    Machine::builder()
        .engine(EngineChoice::Soft)
        .output(sink())
        .diagnostics(sink())
        .clock_device(devices::Clock::repeatable(Duration::ZERO))
        .random_device(devices::Random::repeatable(1))
        .time_limit(Duration::from_secs(20))
}

/// How a run is recorded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum How {
    ToItsEnd,
    /// Until it is killed: there is no end.
    Killed,
    Limited,
    /// Without the program.
    WithoutImage,
    /// Not from the start on.
    FromTheMiddle,
}

pub fn recorded(program: &Program, how: How) -> Vec<u8> {
    let builder = builder()
        .memory("64K".parse().unwrap())
        .arguments(["a", "bcd"])
        .input(b"some input ".repeat(60))
        .device(0x40, Counter(0));
    let mut machine = builder.build(program).unwrap();
    if how == How::FromTheMiddle {
        machine.resume(&Wants { instructions: Some(50), ..Wants::default() }).unwrap();
    }
    let (mut recorder, file) = Recorder::to_memory();
    recorder = recorder.program("target/guest.elf");
    if how == How::WithoutImage {
        recorder = recorder.without_image();
    }
    machine.record(recorder).unwrap();
    if matches!(how, How::Killed | How::Limited) {
        machine.set_instruction_limit(300).unwrap();
    }
    let outcome = machine.run().unwrap();
    if how != How::Killed {
        machine.end_recording(&outcome).unwrap();
    }
    drop(machine);
    file.take()
}

/// How many instructions a replay may execute.
pub const LIMIT: u64 = 10_000;

/// A machine that replays, and its limit of instructions. It has none if those before are not counted.
pub fn limited(recording: &Recording) -> Result<(Machine, Option<u64>), BuildError> {
    let mut machine = builder().replay(recording)?;
    let limit = machine.engine().instructions().unwrap_or(0) + LIMIT;
    match machine.set_instruction_limit(limit) {
        Ok(()) => Ok((machine, Some(limit))),
        Err(_) => {
            machine.set_time_limit(Duration::from_millis(1));
            Ok((machine, None))
        }
    }
}

/// Runs a replay to its end. The only error is that it leaves its recording.
pub fn run(machine: &mut Machine) -> Result<Outcome, RunError> {
    let result = machine.run();
    match &result {
        Err(RunError::Diverged(divergence)) => {
            let message = divergence.to_string();
            assert!(!message.contains(['\n', '.']), "{message:?}");
        }
        Err(error) => panic!("{error}"),
        Ok(_) => {}
    }
    result
}
