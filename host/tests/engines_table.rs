//! Tries what docs/reference.md says that each engine can do: each row of its table on each engine, with an image of a
//! few bytes. A row without a check here, and a check without a row, is a failure.
//!
//! All but the first row need nothing but /dev/kvm, so this program's binary also runs on another machine.

mod common;

use std::cell::RefCell;
use std::io::{self, Write};
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

use common::{ended, engines, finish, machine_on, machine_with, reference_table};
use flatland::trace::{Form, Kind, Settings, Sink, Trace};
use flatland::x86::{Access, Fault, FaultKind, Location, Segment, WatchKind, Watchpoint};
use flatland::{
    BuildError, ChoiceError, EngineChoice, EngineKind, Event, Input, Machine, MemoryMap, MemorySize, Outcome,
    Program, RunError, Stop, Streams, Wants, observe,
};

/// The rows of the bench, whose names the table of speeds gives.
const BENCH_ROWS: &str = include_str!("../../bench/src/rows.rs");

/// Says whether this engine can do it. Panics if it does something else than to do it or to refuse it as it should.
type Check = fn(EngineChoice) -> bool;

/// The row whose check needs the program flatland and user namespaces.
const NEEDS_KVM: &str = "needs `/dev/kvm`";

/// The other rows, in the table's order.
const CHECKS: &[(&str, Check)] = &[
    ("moves to the other engine by itself", moves_by_itself),
    ("moves to the other engine by `Machine::move_to`", moves_when_asked),
    ("ends at a time limit and by an interrupt", is_interrupted),
    ("snapshots: goes on from one again and again", has_snapshots),
    ("names exceptions, without code in the guest", names_exceptions),
    ("names an exception whose frame finds no memory", names_exceptions_without_a_stack),
    ("read-only memory, and the guard below the stack", protects_memory),
    ("steps", steps),
    ("breakpoints, more than a processor's four", has_many_breakpoints),
    ("traces of transfers and of instructions", traces),
    ("counts instructions, and ends at a limit of them", counts_instructions),
    ("watchpoints", has_watchpoints),
    ("`int3` and `int n`", has_interrupts),
    ("`iret`", has_iret),
    ("`aaa` and its like", has_aaa),
    ("x87", has_x87),
    ("SSE", has_sse),
    ("paging", has_paging),
    ("breakpoints of the guest's own, for data", has_data_breakpoints),
    ("privilege levels 0 to 3", has_levels),
];

/// What a cell says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cell {
    Yes,
    No,
    /// KVM runs the guest on the processor, or emulates it: either answer is right.
    OnProcessor,
    /// The run is on the soft engine when it comes to that, or not. The check knows.
    OnSoft,
}

impl Cell {
    fn read(text: &str) -> Self {
        match text {
            "yes" => Self::Yes,
            "no" => Self::No,
            "where the processor runs the guest" => Self::OnProcessor,
            "where it is on `soft`" => Self::OnSoft,
            _ => panic!("`{text}` is not a cell of the table of engines"),
        }
    }

    fn allows(self, can: bool) -> bool {
        match self {
            Self::Yes => can,
            Self::No => !can,
            Self::OnProcessor | Self::OnSoft => true,
        }
    }
}

/// The name of each row, and its cells for auto, kvm and soft.
fn capabilities() -> Vec<(&'static str, [Cell; 3])> {
    let row = |row: Vec<&'static str>| match row[..] {
        [name, auto, kvm, soft] => (name, [auto, kvm, soft].map(Cell::read)),
        _ => panic!("{row:?} has not four cells"),
    };
    reference_table("| what it can do | `auto` | `kvm` | `soft` |").into_iter().map(row).collect()
}

/// The engines to try: all of them, or only the soft engine if there is no KVM.
fn columns() -> Vec<(usize, EngineChoice)> {
    let all = [EngineChoice::Auto, EngineChoice::Kvm, EngineChoice::Soft];
    let has_kvm = engines().contains(&EngineChoice::Kvm);
    all.into_iter().enumerate().filter(|(_, engine)| has_kvm || *engine == EngineChoice::Soft).collect()
}

fn try_row(name: &str, cells: [Cell; 3], check: Check) {
    for (column, engine) in columns() {
        let (cell, can) = (cells[column], check(engine));
        // Shown with `--nocapture`: what a cell that allows both answers comes to on this machine.
        println!("{name}: {engine:?}: {can}");
        assert!(cell.allows(can), "{engine:?}: the table says {cell:?} of {name}, and it is {can}");
    }
}

#[test]
fn each_row_has_a_check_and_each_check_a_row() {
    let rows: Vec<_> = capabilities().into_iter().map(|(name, _)| name).collect();
    let checks: Vec<_> = [NEEDS_KVM].into_iter().chain(CHECKS.iter().map(|(name, _)| *name)).collect();
    assert_eq!(rows, checks);
}

#[test]
fn each_row_is_what_the_engines_do() {
    for (name, cells) in capabilities() {
        if let Some((_, check)) = CHECKS.iter().find(|(row, _)| *row == name) {
            try_row(name, cells, *check);
        }
    }
}

#[test]
fn kvm_is_needed_by_whom_the_table_says() {
    let cells = capabilities().into_iter().find(|(name, _)| *name == NEEDS_KVM).expect("it has a row").1;
    try_row(NEEDS_KVM, cells, needs_kvm);
}

#[test]
fn speeds_come_from_rows_of_the_bench() {
    let rows = reference_table("| how fast it is | `auto` | `kvm` | `soft` | row |");
    assert!(rows.len() >= 5, "{rows:?}");
    for row in rows {
        let [_, figures @ .., id] = &row[..] else { panic!("{row:?} has no row of the bench") };
        let id = id.trim_matches('`');
        assert!(BENCH_ROWS.contains(&format!("\"{id}\"")), "`cargo xtask bench` has no row {id}");
        assert_eq!(figures.len(), 3, "{row:?}");
        for figure in figures {
            assert!(figure.parse::<f64>().is_ok(), "{figure} is no ratio: {row:?}");
        }
    }
}

fn fault(kind: FaultKind, location: Location) -> Outcome {
    Outcome::Fault(Fault { kind, location })
}

fn exception(vector: u8, error_code: Option<u32>) -> FaultKind {
    FaultKind::Exception { vector, error_code }
}

/// Whether this code ends as on a processor. If not, it must end with a fault that `refuses`.
fn is_run(
    engine: EngineChoice,
    code: &[u8],
    on_processor: (Outcome, &[u8]),
    refuses: impl Fn(&Fault) -> bool,
) -> bool {
    let run = finish(machine_on(engine, code, b""));
    if run == ended(on_processor.0.clone(), on_processor.1) {
        return true;
    }
    match run.outcome {
        Outcome::Fault(fault) if refuses(&fault) => false,
        _ => panic!("{engine:?}: {code:02x?} ended otherwise: {run:?}"),
    }
}

/// The engine does not have the instruction at this address.
fn lacks(address: u32) -> impl Fn(&Fault) -> bool {
    move |fault| {
        matches!(fault.kind, FaultKind::Unsupported { .. }) && fault.location == Location::At(address)
    }
}

fn needs_kvm(engine: EngineChoice) -> bool {
    let name = match engine {
        EngineChoice::Auto => "auto",
        EngineChoice::Kvm => "kvm",
        _ => "soft",
    };
    let image = std::env::temp_dir().join(format!("flatland-engines-table-{}.bin", std::process::id()));
    std::fs::write(&image, [0xf4]).expect("the image can be written");
    // A /dev without anything in it.
    let script = "mount -t tmpfs none /dev && exec \"$0\" --engine \"$1\" \"$2\"";
    let output = Command::new("unshare")
        .args(["--map-root-user", "--mount", "bash", "-c", script])
        .args([env!("CARGO_BIN_EXE_flatland"), name])
        .arg(&image)
        .output()
        .expect("this test needs user namespaces");
    std::fs::remove_file(&image).expect("it was written");
    let stderr = String::from_utf8_lossy(&output.stderr);
    match output.status.code() {
        Some(0) => false,
        Some(125) if stderr.starts_with("flatland: there is no /dev/kvm") => true,
        code => panic!("this test needs user namespaces, and this is what it got: {code:?}, {stderr}"),
    }
}

/// Answers each byte with the next one.
#[rustfmt::skip]
const ANSWER: &[u8] = &[
    0xe4, 0xe9, // 0: in al, 0xe9
    0xfe, 0xc0, // 2: inc al
    0xe6, 0xe9, // 4: out 0xe9, al
    0xeb, 0xf8, // 6: jmp 0
];

fn moves_by_itself(engine: EngineChoice) -> bool {
    let input = [b'a'; 2000];
    let mut machine = machine_on(engine, ANSWER, &input);
    assert_eq!(machine.run().unwrap(), Outcome::EndOfInput);
    assert_eq!(machine.streams().output.bytes(), [b'b'; 2000]);
    machine.stats().move_count > 0
}

fn moves_when_asked(engine: EngineChoice) -> bool {
    let mut machine = machine_on(engine, ANSWER, b"a");
    assert_eq!(machine.run_until_input().unwrap(), None);
    let to = if machine.engine().name() == "kvm" { EngineKind::Soft } else { EngineKind::Kvm };
    if engines().contains(&EngineChoice::Kvm) {
        machine.move_to(to).unwrap();
        assert_eq!(machine.engine().name(), to.name());
    }
    assert_eq!(finish(machine), ended(Outcome::EndOfInput, b"b"));
    true
}

fn is_interrupted(engine: EngineChoice) -> bool {
    let for_ever = [0xeb, 0xfe];
    let limit = Duration::from_millis(30);
    let mut machine = machine_on(engine, &for_ever, b"");
    machine.set_time_limit(limit);
    assert_eq!(machine.run().unwrap(), Outcome::Stopped(Stop::TimeLimit(limit), Location::At(0)));
    let mut machine = machine_on(engine, &for_ever, b"");
    machine.interrupt_handle().interrupt();
    assert_eq!(machine.run().unwrap(), Outcome::Stopped(Stop::Interrupted, Location::At(0)));
    true
}

fn has_snapshots(engine: EngineChoice) -> bool {
    let mut machine = machine_on(engine, ANSWER, b"");
    assert_eq!(machine.run_until_input().unwrap(), None);
    let asking = machine.snapshot().unwrap();
    for byte in [b'1', b'2', b'3'] {
        let streams = Streams { input: Input::from(&[byte]), ..Streams::none() };
        machine.restore(&asking, streams).unwrap();
        assert_eq!(machine.run().unwrap(), Outcome::EndOfInput);
        assert_eq!(machine.streams().output.bytes(), [byte + 1]);
    }
    true
}

fn names_exceptions(engine: EngineChoice) -> bool {
    // 0: xor ecx, ecx; 2: div ecx
    let outcome = fault(exception(0, None), Location::At(2));
    is_run(engine, &[0x31, 0xc9, 0xf7, 0xf1], (outcome, b""), |_| false)
}

fn names_exceptions_without_a_stack(engine: EngineChoice) -> bool {
    // 0: mov esp, 0x80000000; 5: ud2
    let mut machine = machine_on(engine, &[0xbc, 0, 0, 0, 0x80, 0x0f, 0x0b], b"");
    let is_named = match machine.run().unwrap() {
        Outcome::Fault(Fault { kind: FaultKind::TripleFault, .. }) => false,
        other => {
            assert_eq!(other, fault(exception(6, None), Location::At(5)), "{engine:?}");
            true
        }
    };
    assert_eq!(is_named, machine.engine().name() == "soft", "{engine:?}");
    is_named
}

fn protects_memory(engine: EngineChoice) -> bool {
    let memory = || {
        let code = Segment { start: 0, end: 0x1000, writable: false };
        MemoryMap::from(MemorySize::default()).protecting(&[code]).expect("there is room")
    };
    // mov [0], al
    let run = finish(machine_with(engine, memory(), &[0xa2, 0, 0, 0, 0], b""));
    match run.outcome {
        Outcome::Fault(Fault { kind: FaultKind::ReadOnly { address: 0 }, .. }) => {}
        other => panic!("{engine:?}: {other:?}"),
    }
    // 0: push eax; 1: jmp 0
    let run = finish(machine_with(engine, memory(), &[0x50, 0xeb, 0xfd], b""));
    match run.outcome {
        Outcome::Fault(Fault { kind: FaultKind::StackOverflow { .. }, .. }) => true,
        other => panic!("{engine:?}: {other:?}"),
    }
}

/// Six instructions of a byte, and then `hlt`.
const NOPS: &[u8] = &[0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0xf4];

/// The addresses at which a run with these wants stops, up to its `hlt`.
fn stops(engine: EngineChoice, code: &[u8], wants: &Wants) -> Vec<u32> {
    let mut machine = machine_on(engine, code, b"");
    let mut addresses = Vec::new();
    loop {
        match machine.resume(wants).unwrap() {
            Event::Stopped(_) => addresses.push(machine.registers().unwrap().eip),
            Event::Ended(outcome) => {
                assert_eq!(outcome, Outcome::Halted, "{engine:?}");
                return addresses;
            }
            other => panic!("{engine:?}: {other:?}"),
        }
    }
}

fn steps(engine: EngineChoice) -> bool {
    let wants = Wants { steps: true, ..Wants::default() };
    assert_eq!(stops(engine, NOPS, &wants), [1, 2, 3, 4, 5, 6], "{engine:?}");
    true
}

fn has_many_breakpoints(engine: EngineChoice) -> bool {
    let wants = Wants { breakpoints: vec![0, 1, 2, 4, 5, 6], ..Wants::default() };
    assert_eq!(stops(engine, NOPS, &wants), [0, 1, 2, 4, 5, 6], "{engine:?}");
    true
}

/// A sink that can be read afterwards.
#[derive(Clone, Default)]
struct Shared(Rc<RefCell<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn traces(engine: EngineChoice) -> bool {
    // 0: mov al, 'A'; 2: out 0xe9, al; 4: hlt
    let mut machine = machine_on(engine, &[0xb0, b'A', 0xe6, 0xe9, 0xf4], b"");
    let sink = Shared::default();
    let settings = Settings { kinds: vec![Kind::Io, Kind::Instructions], filter: None, most_lines: 100 };
    let mut trace = Trace::new(settings, None, Sink::Writer(Box::new(sink.clone()), Form::Lines));
    assert_eq!(observe(&mut machine, &mut [&mut trace]).unwrap(), Outcome::Halted);
    let text = String::from_utf8(sink.0.take()).unwrap();
    for part in ["out console", "mov al", "hlt", "end: hlt"] {
        assert!(text.contains(part), "{engine:?}: no `{part}` in\n{text}");
    }
    true
}

/// Whether this is KVM's refusal to do what only the soft engine can.
fn is_refused_by_kvm(error: &dyn std::error::Error) -> bool {
    error.to_string().starts_with("KVM cannot ")
}

fn counts_instructions(engine: EngineChoice) -> bool {
    let program = Program::from_bytes(NOPS.to_vec()).unwrap();
    match Machine::builder().engine(engine).instruction_limit(4).build(&program) {
        Ok(mut machine) => {
            let outcome = machine.run().unwrap();
            assert_eq!(outcome, Outcome::Stopped(Stop::InstructionLimit(4), Location::At(4)), "{engine:?}");
            assert_eq!(machine.engine().instructions(), Some(4), "{engine:?}");
            true
        }
        Err(BuildError::Engine(ChoiceError::Unsupported(error))) if is_refused_by_kvm(&error) => {
            assert_eq!(machine_on(engine, NOPS, b"").engine().instructions(), None);
            false
        }
        Err(other) => panic!("{engine:?}: {other:?}"),
    }
}

fn has_watchpoints(engine: EngineChoice) -> bool {
    // 0: mov [0x1000], al; 5: hlt
    let mut machine = machine_on(engine, &[0xa2, 0x00, 0x10, 0, 0, 0xf4], b"");
    let watchpoint = Watchpoint { address: 0x1000, len: 4, kind: WatchKind::Write };
    match machine.resume(&Wants { watchpoints: vec![watchpoint], ..Wants::default() }) {
        Ok(Event::Stopped(stopped)) => {
            assert_eq!(stopped.watchpoint, Some((0x1000, Access::Write)), "{engine:?}");
            assert_eq!(machine.registers().unwrap().eip, 5, "{engine:?}");
            true
        }
        Err(RunError::Unsupported(error)) if is_refused_by_kvm(&error) => false,
        other => panic!("{engine:?}: {other:?}"),
    }
}

fn has_interrupts(engine: EngineChoice) -> bool {
    // int3; int 0x80, which is beyond the IDT
    let breakpoint = fault(exception(3, None), Location::EndsAt(1));
    let protection = fault(exception(13, Some(0x402)), Location::At(0));
    let [int3, int] = [(&[0xcc][..], breakpoint), (&[0xcd, 0x80], protection)]
        .map(|(code, outcome)| is_run(engine, code, (outcome, b""), lacks(0)));
    assert_eq!(int3, int, "{engine:?} has only one of the two");
    int3
}

#[rustfmt::skip]
fn has_iret(engine: EngineChoice) -> bool {
    let code = [
        0x9c,       // 0: pushf
        0x0e,       // 1: push cs
        0x6a, 0x05, // 2: push 5
        0xcf,       // 4: iret
        0xb0, b'I', // 5: mov al, 'I'
        0xe6, 0xe9, // 7: out 0xe9, al
        0xf4,       // 9: hlt
    ];
    is_run(engine, &code, (Outcome::Halted, b"I"), lacks(4))
}

#[rustfmt::skip]
fn has_aaa(engine: EngineChoice) -> bool {
    let code = [
        0xb0, 0x0b, // 0: mov al, 0x0b
        0x37,       // 2: aaa
        0xe6, 0xe9, // 3: out 0xe9, al
        0xf4,       // 5: hlt
    ];
    is_run(engine, &code, (Outcome::Halted, &[1]), lacks(2))
}

#[rustfmt::skip]
fn has_x87(engine: EngineChoice) -> bool {
    let code = [
        0xd9, 0xe8,                         //  0: fld1
        0xdb, 0x1d, 0x00, 0x10, 0x00, 0x00, //  2: fistp dword [0x1000]
        0xa0, 0x00, 0x10, 0x00, 0x00,       //  8: mov al, [0x1000]
        0xe6, 0xe9,                         //  d: out 0xe9, al
        0xf4,                               //  f: hlt
    ];
    is_run(engine, &code, (Outcome::Halted, &[1]), lacks(0))
}

/// A guest enables SSE by CR4.OSFXSR.
#[rustfmt::skip]
fn has_sse(engine: EngineChoice) -> bool {
    let code = [
        0xb8, 0x00, 0x02, 0x00, 0x00, // 0: mov eax, 0x200
        0x0f, 0x22, 0xe0,             // 5: mov cr4, eax
        0x0f, 0x58, 0xc1,             // 8: addps xmm0, xmm1
        0xf4,                         // b: hlt
    ];
    is_run(engine, &code, (Outcome::Halted, b""), lacks(8))
}

/// Sends 200 bytes, so that auto moves with paging on.
#[rustfmt::skip]
fn has_paging(engine: EngineChoice) -> bool {
    let code = [
        // A page table at 0x3000 for the first 4 MiB, one to one but for the page at 0x4000, which is at 0x5000.
        0xbf, 0x00, 0x30, 0x00, 0x00,                               //  0: mov edi, 0x3000
        0xb8, 0x03, 0x00, 0x00, 0x00,                               //  5: mov eax, 3
        0xb9, 0x00, 0x04, 0x00, 0x00,                               //  a: mov ecx, 1024
        0xab,                                                       //  f: stosd
        0x05, 0x00, 0x10, 0x00, 0x00,                               // 10: add eax, 0x1000
        0xe2, 0xf8,                                                 // 15: loop f
        0xc7, 0x05, 0x00, 0x20, 0x00, 0x00, 0x03, 0x30, 0x00, 0x00, // 17: mov dword [0x2000], 0x3003
        0xc7, 0x05, 0x10, 0x30, 0x00, 0x00, 0x03, 0x50, 0x00, 0x00, // 21: mov dword [0x3010], 0x5003
        0xc6, 0x05, 0x00, 0x50, 0x00, 0x00, b'P',                   // 2b: mov byte [0x5000], 'P'
        0xb8, 0x00, 0x20, 0x00, 0x00,                               // 32: mov eax, 0x2000
        0x0f, 0x22, 0xd8,                                           // 37: mov cr3, eax
        0x0f, 0x20, 0xc0,                                           // 3a: mov eax, cr0
        0x0d, 0x00, 0x00, 0x00, 0x80,                               // 3d: or eax, 0x80000000
        0x0f, 0x22, 0xc0,                                           // 42: mov cr0, eax
        0xb9, 0xc8, 0x00, 0x00, 0x00,                               // 45: mov ecx, 200
        0xa0, 0x00, 0x40, 0x00, 0x00,                               // 4a: mov al, [0x4000]
        0xe6, 0xe9,                                                 // 4f: out 0xe9, al
        0xe2, 0xfc,                                                 // 51: loop 4f
        0xf4,                                                       // 53: hlt
    ];
    is_run(engine, &code, (Outcome::Halted, &[b'P'; 200]), lacks(0x42))
}

/// DR0 watches stores to 0x1000. The debug exception has no handler.
#[rustfmt::skip]
fn has_data_breakpoints(engine: EngineChoice) -> bool {
    let code = [
        0xb8, 0x00, 0x10, 0x00, 0x00, //  0: mov eax, 0x1000
        0x0f, 0x23, 0xc0,             //  5: mov dr0, eax
        0xb8, 0x01, 0x00, 0x01, 0x00, //  8: mov eax, 0x10001
        0x0f, 0x23, 0xf8,             //  d: mov dr7, eax
        0xa2, 0x00, 0x10, 0x00, 0x00, // 10: mov [0x1000], al
        0xf4,                         // 15: hlt
    ];
    let trap = fault(exception(1, None), Location::At(0x15));
    let outcome = finish(machine_on(engine, &code, b"")).outcome;
    // A KVM that emulates goes on.
    assert!(outcome == trap || engine != EngineChoice::Soft && outcome == Outcome::Halted, "{engine:?}: {outcome:?}");
    outcome == trap
}

/// Goes to level 3 by `iret`, and back by `int 0`, whose handler sends the level that it was called from.
#[rustfmt::skip]
fn has_levels(engine: EngineChoice) -> bool {
    let mut code = vec![
        0x0f, 0x01, 0x15, 0xb0, 0x00, 0x00, 0x00, //  0: lgdt [0xb0]
        0x0f, 0x01, 0x1d, 0xb8, 0x00, 0x00, 0x00, //  7: lidt [0xb8]
        0x66, 0xb8, 0x28, 0x00,                   //  e: mov ax, 0x28
        0x0f, 0x00, 0xd8,                         // 12: ltr ax
        0x6a, 0x23,                               // 15: push 0x23
        0x68, 0x00, 0x20, 0x00, 0x00,             // 17: push 0x2000
        0x6a, 0x02,                               // 1c: push 2
        0x6a, 0x1b,                               // 1e: push 0x1b
        0x6a, 0x23,                               // 20: push 0x23
        0xcf,                                     // 22: iret
        0xcd, 0x00,                               // 23: int 0
        0x8a, 0x44, 0x24, 0x04,                   // 25: mov al, [esp+4]
        0x24, 0x03,                               // 29: and al, 3
        0xe6, 0xe9,                               // 2b: out 0xe9, al
        0xf4,                                     // 2d: hlt
    ];
    let descriptors: [u64; 6] = [
        0, 0x00cf_9b00_0000_ffff, 0x00cf_9300_0000_ffff, 0x00cf_fb00_0000_ffff, 0x00cf_f300_0000_ffff,
        // The TSS, at 0x100.
        0x0000_8900_0100_0067,
    ];
    code.resize(0x80, 0);
    code.extend(descriptors.iter().flat_map(|descriptor| descriptor.to_le_bytes()));
    // GDTR and IDTR; the gate, at 0xc0; ESP and SS of level 0
    code.extend([0x2f, 0, 0x80, 0, 0, 0, 0, 0, 0x07, 0, 0xc0, 0, 0, 0, 0, 0]);
    code.extend(0x0000_ee00_0008_0025_u64.to_le_bytes());
    code.resize(0x104, 0);
    code.extend([0, 0x30, 0, 0, 0x10, 0, 0, 0]);
    code.resize(0x168, 0);
    is_run(engine, &code, (Outcome::Halted, &[3]), |fault| matches!(fault.kind, FaultKind::Unsupported { .. }))
}
