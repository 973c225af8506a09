//! Whether two runs of a case are the same, and which differences are known.

use std::collections::BTreeMap;
use std::fmt::Write;

use flatland::x86::{Access, Fault, FaultKind, Location};
use iced_x86::{CpuidFeature, Instruction, Mnemonic};

use super::exceptions;
use super::subject::{After, Before, Bus, End, Subject, after};
use super::trace::{Trace, trace};

/// Counts the results of the cases of a test.
#[derive(Default)]
pub struct Tally {
    compared: u32,
    left_out: BTreeMap<&'static str, u32>,
    instructions: usize,
    differences: u32,
}

/// More differences than this are not printed.
const MOST_PRINTED: u32 = 20;

impl Tally {
    /// Runs a case on `ours`, and if it ends there, on `theirs`, and counts the result.
    pub fn case(&mut self, seed: u64, before: &Before, ours: &mut impl Subject, theirs: &mut impl Subject) {
        match verdict(before, ours, theirs) {
            Verdict::Same { instructions } => {
                self.compared += 1;
                self.instructions += instructions;
            }
            Verdict::LeftOut(reason) | Verdict::Excused(reason) => self.leave_out(reason),
            Verdict::Different(how) => {
                self.compared += 1;
                self.differences += 1;
                if self.differences <= MOST_PRINTED {
                    println!("difference, to be had again by FLATLAND_SEED={seed} FLATLAND_CASES=1:\n{how}");
                }
            }
        }
    }

    /// Counts a case that cannot be compared.
    pub fn leave_out(&mut self, reason: &'static str) {
        *self.left_out.entry(reason).or_default() += 1;
    }

    /// The number of differences.
    pub fn differences(&self) -> u32 {
        self.differences
    }

    /// Prints the numbers, and fails if there is a difference or nothing was compared.
    pub fn finish(self, what: &str) {
        self.print(what);
        assert_eq!(self.differences, 0, "{what}: see the differences above");
        assert!(self.compared > 0, "{what}: nothing was compared");
    }

    /// Prints the numbers.
    pub fn print(&self, what: &str) {
        let Self { compared, left_out, instructions, differences } = self;
        println!(
            "{what}: {differences} differences in {compared} cases compared ({instructions} instructions)"
        );
        for (reason, count) in left_out {
            println!("    {count} left out: {reason}");
        }
    }
}

/// The result of a case.
enum Verdict {
    Same {
        instructions: usize,
    },
    /// It cannot be compared with any subject.
    LeftOut(&'static str),
    /// It cannot be compared with this subject, which refuses it or is known to be wrong.
    Excused(&'static str),
    Different(String),
}

/// Whether a case can be compared with this subject.
pub fn suits(before: &Before, ours: &mut impl Subject, theirs: &mut impl Subject) -> bool {
    !matches!(verdict(before, ours, theirs), Verdict::Excused(_))
}

fn verdict(before: &Before, ours: &mut impl Subject, theirs: &mut impl Subject) -> Verdict {
    let difference = match compare(before, ours, theirs) {
        Compared::Same { instructions } => return Verdict::Same { instructions },
        Compared::LeftOut(reason) => return Verdict::LeftOut(reason),
        Compared::Refused(reason) => return Verdict::Excused(reason),
        Compared::Different(difference) => difference,
    };
    // One known difference would hide all others of the case, so each instruction is compared alone, from the state
    // in which the soft engine reached it. Each must be the same or a known difference, and at least one must be
    // known.
    let mut reason = None;
    let mut unknown = None;
    let stepped = each_instruction_alone(before, |alone| {
        let difference = match compare(alone, ours, theirs) {
            Compared::Different(difference) => difference,
            Compared::Refused(refusal) => return reason = reason.or(Some(refusal)),
            _ => return,
        };
        if difference.trace.undefined.is_some() {
            return;
        }
        match exceptions::known(theirs.name(), &difference) {
            Some(known) => reason = reason.or(Some(known)),
            None => unknown = unknown.take().or_else(|| Some(difference.print(alone, ours, theirs))),
        }
    });
    let is_as_stepped = difference.ours.registers == stepped.registers && difference.ours.ram == stepped.ram;
    let together = || exceptions::known_of_together(theirs.name()).filter(|_| is_as_stepped);
    let reason = reason.or_else(|| exceptions::known_of_all(theirs.name(), &difference)).or_else(together);
    match (unknown, reason, difference.trace.undefined) {
        (Some(unknown), ..) => Verdict::Different(unknown),
        (None, Some(reason), _) => Verdict::Excused(reason),
        (None, None, Some(undefined)) => Verdict::LeftOut(undefined),
        (None, None, None) => Verdict::Different(difference.print(before, ours, theirs)),
    }
}

/// Calls `with` for each instruction of a case, with the state in which the soft engine reaches it and a `hlt` at the
/// next address that it executes. Returns the state behind all of them.
fn each_instruction_alone(before: &Before, mut with: impl FnMut(&Before)) -> Before {
    let mut now = before.clone();
    trace(before, |instruction, engine| {
        let next = after(engine, End::Halt, Bus::default());
        let (own, eip) = (instruction.ip() as usize, next.registers.eip as usize);
        // If the soft engine faults, the other subject may still continue. An instruction that leads into itself
        // cannot be compared alone.
        let leads_to = if eip == own { own + instruction.len() } else { eip };
        let leads_into_itself = (own..own + instruction.len()).contains(&leads_to);
        if instruction.mnemonic() != Mnemonic::Hlt && !leads_into_itself {
            let mut alone = now.clone();
            // An invalid instruction has no known length: another subject may decode it with a different one.
            if !instruction.is_invalid()
                && let Some(byte) = alone.ram.get_mut(leads_to)
            {
                *byte = 0xf4; // hlt
            }
            with(&alone);
        }
        now = Before { registers: next.registers, ram: next.ram };
    });
    now
}

/// The result of the comparison itself.
enum Compared {
    Same { instructions: usize },
    LeftOut(&'static str),
    Refused(&'static str),
    Different(Box<Difference>),
}

/// Two runs of a case that differ.
pub struct Difference {
    /// What differs.
    how: String,
    pub trace: Trace,
    pub ours: After,
    pub theirs: After,
}

impl Difference {
    /// Whether the difference disappears after `change` is applied to both results.
    pub fn is_none_but(&self, change: impl Fn(&mut After)) -> bool {
        let [mut ours, mut theirs] = [self.ours.clone(), self.theirs.clone()];
        change(&mut ours);
        change(&mut theirs);
        difference(&ours, &theirs, &self.trace).is_none()
    }

    fn print(&self, before: &Before, ours: &impl Subject, theirs: &impl Subject) -> String {
        let mut how = self.how.clone();
        let _ = writeln!(how, "  before: {:x?}", before.registers);
        for (name, after) in [(ours.name(), &self.ours), (theirs.name(), &self.theirs)] {
            let _ = writeln!(how, "  {name}: {:x?}\n    {:x?}", after.end, after.registers);
        }
        for instruction in self.trace.executed.iter().rev().take(8).rev() {
            let start = instruction.ip() as usize;
            let bytes = before.ram.get(start..start + instruction.len()).unwrap_or_default();
            let _ = writeln!(how, "  {start:#x}: {bytes:02x?} {:?}", instruction.code());
        }
        how
    }
}

fn compare(before: &Before, ours: &mut impl Subject, theirs: &mut impl Subject) -> Compared {
    let our_after = ours.run(before);
    if our_after.end == End::Endless {
        return Compared::LeftOut("it does not end");
    }
    if our_after.end.is_refusal() {
        return Compared::LeftOut("an instruction of a unit that the soft engine does not have");
    }
    let trace = trace(before, |_, _| {});
    if let Some(reason) = not_comparable(&trace.executed) {
        return Compared::LeftOut(reason);
    }
    if let Some(reason) = theirs.refuses(&trace) {
        return Compared::Refused(reason);
    }
    let their_after = theirs.run(before);
    if their_after.end == End::Died {
        return Compared::Refused(
            "its process ends: Unicorn cannot translate a lock prefix where none is allowed",
        );
    }
    if their_after.end.is_refusal() {
        return Compared::Refused("an instruction that this KVM cannot run");
    }
    match difference(&our_after, &their_after, &trace) {
        None => Compared::Same { instructions: trace.executed.len() },
        Some(how) => {
            Compared::Different(Box::new(Difference { how, trace, ours: our_after, theirs: their_after }))
        }
    }
}

/// Instructions whose result depends on the processor, or that change what the contract leaves to the host.
const NOT_COMPARABLE: [(&[Mnemonic], &str); 4] = [
    (
        &[
            Mnemonic::Cpuid,
            Mnemonic::Rdtsc,
            Mnemonic::Rdtscp,
            Mnemonic::Rdpmc,
            Mnemonic::Rdmsr,
            Mnemonic::Wrmsr,
        ],
        "cpuid, time stamps and model-specific registers are the processor's own",
    ),
    (
        &[
            Mnemonic::Sgdt,
            Mnemonic::Sidt,
            Mnemonic::Sldt,
            Mnemonic::Str,
            Mnemonic::Lgdt,
            Mnemonic::Lidt,
            Mnemonic::Lldt,
            Mnemonic::Ltr,
            Mnemonic::Smsw,
            Mnemonic::Lmsw,
            Mnemonic::Clts,
        ],
        "system registers at entry are the host's affair",
    ),
    (
        &[Mnemonic::Invd, Mnemonic::Wbinvd, Mnemonic::Invlpg, Mnemonic::Rsm],
        "caches and system management are the host's affair",
    ),
    (
        &[Mnemonic::Vmcall, Mnemonic::Vmmcall, Mnemonic::Pause],
        "vmcall, vmmcall and pause speak to the hypervisor: KVM may never come back",
    ),
];

/// Why code that has executed this cannot be compared, if it cannot.
pub fn not_comparable(executed: &[Instruction]) -> Option<&'static str> {
    executed.iter().find_map(|instruction| {
        let mnemonic = instruction.mnemonic();
        if touches_control_registers(instruction) {
            return Some("control and debug registers are the host's affair");
        }
        if !instruction.is_invalid() && !is_of_the_i686(instruction) {
            return Some("an instruction newer than the i686");
        }
        NOT_COMPARABLE.iter().find(|(mnemonics, _)| mnemonics.contains(&mnemonic)).map(|(_, reason)| *reason)
    })
}

fn touches_control_registers(instruction: &Instruction) -> bool {
    [instruction.op0_register(), instruction.op1_register()]
        .iter()
        .any(|register| register.is_cr() || register.is_dr() || register.is_tr())
}

/// Whether the Pentium Pro has this instruction.
fn is_of_the_i686(instruction: &Instruction) -> bool {
    use CpuidFeature as F;
    instruction.cpuid_features().iter().all(|feature| {
        matches!(
            feature,
            F::INTEL8086
                | F::INTEL8086_ONLY
                | F::INTEL186
                | F::INTEL286
                | F::INTEL286_ONLY
                | F::INTEL386
                | F::INTEL386_ONLY
                | F::INTEL486
                | F::CMOV
                | F::CX8
                | F::CPUID
                | F::TSC
                | F::MSR
                | F::RDPMC
                | F::MULTIBYTENOP
                | F::PAUSE
                | F::SMM
        )
    })
}

/// Resume flag of EFLAGS.
const RF: u32 = 1 << 16;

/// The first difference of two runs in a result that the manual defines.
fn difference(ours: &After, theirs: &After, trace: &Trace) -> Option<String> {
    if ours.bus != theirs.bus {
        return Some(format!("  ports: {:02x?} and {:02x?}", ours.bus, theirs.bus));
    }
    if !same_end(&ours.end, &theirs.end) {
        return Some("  they end in another way\n".into());
    }
    let (mut registers, mut other) = (ours.registers, theirs.registers);
    registers.eflags &= !trace.undefined_flags;
    other.eflags &= !trace.undefined_flags;
    if let End::Fault(fault) = theirs.end
        && matches!(fault.location, Location::EndsAt(_))
    {
        // The store has been done: see `KvmEngine::on_mmio`.
        other.eip = registers.eip;
    }
    if matches!(theirs.end, End::Fault(_)) {
        // The frame that a fault pushes has RF set, regardless of its value before (SDM volume 3, section 19.3.1.1).
        registers.eflags &= !RF;
        other.eflags &= !RF;
    }
    if registers != other {
        return Some("  the registers differ\n".into());
    }
    let pushed_flags = matches!(ours.end, End::Fault(_)).then(|| registers.esp.wrapping_sub(4));
    let at = (0..ours.ram.len()).find(|&at| {
        let undefined = match pushed_flags.map(|start| (at as u32).wrapping_sub(start)) {
            Some(byte @ 0..4) => trace.undefined_flags.to_le_bytes()[byte as usize],
            _ => 0,
        };
        ours.ram[at] & !undefined != theirs.ram[at] & !undefined
    })?;
    Some(format!("  RAM differs at {at:#x}: {:#x} and {:#x}\n", ours.ram[at], theirs.ram[at]))
}

fn same_end(ours: &End, theirs: &End) -> bool {
    match (ours, theirs) {
        (End::Fault(ours), End::Fault(theirs)) => {
            // A trap's frame gives the address of the next instruction.
            let is_trap = matches!(ours.kind, FaultKind::Exception { vector: 1, .. });
            let place_is_known = match theirs.location {
                _ if is_trap => true,
                Location::At(_) => theirs.location == ours.location,
                Location::EndsAt(_) => true,
                Location::Unknown => true,
            };
            same_kind(ours.kind, theirs.kind) && place_is_known
        }
        _ => ours == theirs,
    }
}

fn same_kind(ours: FaultKind, theirs: FaultKind) -> bool {
    match (ours, theirs) {
        // Unicorn gives no error codes.
        (
            FaultKind::Exception { vector: ours, .. },
            FaultKind::Exception { vector: theirs, error_code: None },
        ) => ours == theirs,
        _ => ours == theirs,
    }
}

/// The access and address of a fault outside RAM.
pub fn outside_ram(end: &End) -> Option<(Access, u32)> {
    match end {
        End::Fault(Fault { kind: FaultKind::OutsideRam { access, address, .. }, .. }) => {
            Some((*access, *address))
        }
        _ => None,
    }
}
