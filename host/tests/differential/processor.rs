//! The processor that runs the test as a subject: code of 32 bits in a process of its own, at privilege level 3.
//!
//! RAM is mapped in that process, and segments of its LDT (modify_ldt(2)) begin there, so that addresses are those of
//! the case. An exception is a signal, whose context has the vector, the error code and the registers (sigaction(2)).
//! So is `hlt`.

use std::arch::{asm, global_asm};
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::ptr;
use std::sync::Once;

use flatland::soft::SoftEngine;
use flatland::x86::{Access, Engine, Fault, FaultKind, Location, Registers, Stops, cr0, cr4};
use iced_x86::{Instruction, Mnemonic, Register};
use nix::libc;

use super::subject::{
    After, Before, Bus, End, MOST_INSTRUCTIONS, RAM, Soft, Subject, after, soft_engine, to_the_end,
};
use super::trace::{Trace, decode};
use super::unicorn::{Worker, read_ram, read_registers, read_word, request, values};

/// Flags that privilege level 3 cannot change: IF and IOPL. IF is set there.
const PRIVILEGED_FLAGS: u32 = 0x3200;
const IF: u32 = 1 << 9;
/// AC has a meaning at privilege level 3 only.
pub const AC: u32 = 1 << 18;
const NT: u32 = 1 << 14;

/// The processor, used by a process that runs one case after the other.
#[derive(Default)]
pub struct Processor {
    worker: Option<Worker>,
    fpu: Vec<u8>,
}

/// The size of FXSAVE's area.
pub const FPU_SIZE: usize = 512;

/// Whether the processor is one of AMD's, or of Hygon's, which are built like them (`cpuid`, leaf 0).
pub fn is_amd() -> bool {
    let name = std::arch::x86_64::__cpuid(0).ebx.to_le_bytes();
    name == *b"Auth" || name == *b"Hygo"
}

/// How a case ended there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal {
    pub vector: u32,
    pub error_code: u32,
    /// CR2, as an address of the case.
    pub address: u32,
    /// EFLAGS with TF and RF.
    pub registers: Registers,
}

/// Stands in the place of a vector if there was no exception: the time limit was reached.
const NO_VECTOR: u32 = 0x100;

impl Processor {
    pub const NAME: &str = "processor";

    /// Runs a case. `None` if the process has ended.
    pub fn signal(&mut self, before: &Before) -> Option<(Signal, Vec<u8>)> {
        let worker = self.worker.get_or_insert_with(|| {
            require_modify_ldt();
            Worker::start(answer)
        });
        let received = worker.to.write_all(&request(before)).and_then(|()| received(&mut worker.from));
        if received.is_err() {
            self.worker = None;
        }
        let (signal, ram, fpu) = received.ok()?;
        self.fpu = fpu;
        Some((signal, ram))
    }

    /// The registers of x87 and SSE at the end of the last case, as FXSAVE stores them.
    pub fn fpu(&self) -> &[u8] {
        &self.fpu
    }
}

/// Fails if the kernel does not support modify_ldt.
fn require_modify_ldt() {
    const READ: libc::c_long = 0;
    let mut table = [0_u8; 16];
    // SAFETY: the length is that of the table.
    let result = unsafe { libc::syscall(SYS_MODIFY_LDT, READ, table.as_mut_ptr(), table.len()) };
    assert!(
        result >= 0,
        "this test needs modify_ldt(2), which this kernel does not have: run it on another, or leave it out by \
         `--skip processor`"
    );
}

/// The system call's number (arch/x86/entry/syscalls/syscall_64.tbl).
const SYS_MODIFY_LDT: libc::c_long = 154;

/// Changes a case into one that both privilege levels can run.
pub fn at_any_level(mut before: Before) -> Before {
    before.registers.eflags = before.registers.eflags & !(PRIVILEGED_FLAGS | AC) | IF;
    before
}

/// The soft engine without the flags that cannot be compared.
pub struct SoftAtAnyLevel;

impl Subject for SoftAtAnyLevel {
    fn name(&self) -> &'static str {
        Soft.name()
    }

    fn run(&mut self, before: &Before) -> After {
        let mut after = Soft.run(before);
        after.registers.eflags &= !PRIVILEGED_FLAGS;
        without_frame(after)
    }
}

/// The soft engine at privilege level 3, with CR0.AM set as the operating system of the test has it.
pub struct SoftAtLevel3;

impl Subject for SoftAtLevel3 {
    fn name(&self) -> &'static str {
        Soft.name()
    }

    fn run(&mut self, before: &Before) -> After {
        let mut engine = soft_engine(before);
        at_level_3(&mut engine);
        let stops = Stops { instructions: Some(MOST_INSTRUCTIONS), ..Stops::default() };
        engine.set_stops(&stops).expect("it counts instructions");
        let mut bus = Bus::default();
        let mut end = to_the_end(&mut engine, &mut bus).unwrap_or(End::Endless);
        let mut ours = after(&mut engine, end, bus);
        let halt = halt_at(&ours.ram, ours.registers.eip);
        if let (End::Fault(Fault { kind, .. }), Some(len)) = (end, halt)
            && kind == (FaultKind::Exception { vector: 13, error_code: Some(0) })
        {
            end = End::Halt;
            ours.registers.eip += len;
        }
        ours.registers.eflags &= !PRIVILEGED_FLAGS;
        without_frame(After { end, ..ours })
    }
}

/// The processor beside [`SoftAtLevel3`], where both check alignment.
#[derive(Default)]
pub struct ProcessorAtLevel3(Processor);

impl ProcessorAtLevel3 {
    pub const NAME: &str = "processor at level 3";
}

impl Subject for ProcessorAtLevel3 {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn refuses(&self, trace: &Trace) -> Option<&'static str> {
        self.0.refuses(trace)
    }

    fn run(&mut self, before: &Before) -> After {
        self.0.run(before)
    }
}

/// Puts the soft engine to privilege level 3, with flat segments, CR0.AM and SSE.
pub fn at_level_3(engine: &mut SoftEngine) {
    let (mut state, position) = engine.processor().expect("it has a state");
    state.cr0 |= cr0::AM;
    state.cr4 |= cr4::OSFXSR | cr4::OSXMMEXCPT;
    for segment in &mut state.segments {
        segment.selector |= 3;
        segment.rights |= 3 << 5;
    }
    engine.set_processor(&state, position).expect("it can go on from there");
}

/// An exception of level 3 pushes its frame on another stack.
fn without_frame(mut after: After) -> After {
    if matches!(after.end, End::Fault(_)) {
        let end = after.registers.esp.min(RAM) as usize;
        after.ram[end.saturating_sub(16)..end].fill(0);
    }
    after
}

impl Subject for Processor {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn refuses(&self, trace: &Trace) -> Option<&'static str> {
        trace.executed.iter().find_map(differs_by_level)
    }

    fn run(&mut self, before: &Before) -> After {
        let Some((Signal { vector, error_code, address, mut registers }, ram)) = self.signal(before) else {
            let Before { registers, ram } = before.clone();
            return After { end: End::Died, registers, ram, bus: Bus::default() };
        };
        const RF: u32 = 1 << 16;
        registers.eflags &= !(PRIVILEGED_FLAGS | RF);
        let eip = registers.eip;
        let fault = |kind, location| End::Fault(Fault { kind, location });
        let access = match error_code {
            // I/D and W/R of a page fault's error code: a fetch, a store (SDM volume 3, section 5.12).
            code if code & 0x10 != 0 => Access::Execute,
            code if code & 2 != 0 => Access::Write,
            _ => Access::Read,
        };
        let exception = |error_code| FaultKind::Exception { vector: vector as u8, error_code };
        let end = match vector {
            13 if error_code == 0 && halt_at(&ram, eip).is_some() => {
                registers.eip += halt_at(&ram, eip).unwrap_or_default();
                End::Halt
            }
            14 => fault(FaultKind::OutsideRam { access, address, ram_size: RAM }, Location::At(eip)),
            8 | 10..=13 | 17 => fault(exception(Some(error_code)), Location::At(eip)),
            1 | 3 | 4 => fault(exception(None), Location::EndsAt(eip)),
            NO_VECTOR => End::Lost,
            _ => fault(exception(None), Location::At(eip)),
        };
        without_frame(After { end, registers, ram, bus: Bus::default() })
    }
}

/// The length of the `hlt` at this address, if there is one.
pub fn halt_at(ram: &[u8], eip: u32) -> Option<u32> {
    let instruction = decode(ram.get(eip as usize..)?, eip);
    (instruction.mnemonic() == Mnemonic::Hlt).then_some(instruction.len() as u32)
}

/// Why an instruction behaves differently at privilege level 3, if it does.
pub fn differs_by_level(instruction: &Instruction) -> Option<&'static str> {
    use Mnemonic as M;
    let has_selector = |register: Register| (Register::ES..=Register::GS).contains(&register);
    match instruction.mnemonic() {
        M::In | M::Insb | M::Insw | M::Insd | M::Out | M::Outsb | M::Outsw | M::Outsd | M::Cli | M::Sti => {
            Some("ports and IF are not for privilege level 3")
        }
        M::Int if matches!(instruction.immediate8(), 0..=2 | 5..=31 | 0x80) => {
            Some("gates of the operating system")
        }
        M::Lds | M::Les | M::Lfs | M::Lgs | M::Lss | M::Lar | M::Lsl | M::Verr | M::Verw | M::Retf => {
            Some("selectors are others")
        }
        M::Iret | M::Iretd | M::Sysenter | M::Sysexit | M::Syscall | M::Sysret => {
            Some("selectors are others")
        }
        M::Jmp | M::Call
            if instruction.is_jmp_far()
                || instruction.is_call_far()
                || instruction.is_jmp_far_indirect()
                || instruction.is_call_far_indirect() =>
        {
            Some("selectors are others")
        }
        M::Mov | M::Push | M::Pop
            if has_selector(instruction.op0_register()) || has_selector(instruction.op1_register()) =>
        {
            Some("selectors are others")
        }
        _ => None,
    }
}

/// Reads what [`answer`] sent.
fn received(mut from: impl Read) -> io::Result<(Signal, Vec<u8>, Vec<u8>)> {
    let (vector, error_code, address) = (read_word(&mut from)?, read_word(&mut from)?, read_word(&mut from)?);
    let signal = Signal { vector, error_code, address, registers: read_registers(&mut from)? };
    let ram = read_ram(&mut from)?;
    let mut fpu = vec![0; FPU_SIZE];
    from.read_exact(&mut fpu)?;
    Ok((signal, ram, fpu))
}

// The code of the process.

/// The address of RAM, where nothing else is mapped. It is below 4 GiB, because 32-bit code reaches no further.
const BASE: usize = 0x2000_0000;
/// Selectors of the LDT's first two entries, for privilege level 3.
const CODE: u64 = 7;
pub const DATA: u32 = 0xf;
/// The time limit of a case in seconds.
const SECONDS: i64 = 2;

/// What [`flatland_test_enter`] loads: EAX, ECX, EDX, EBX, ESP, EBP, ESI, EDI, EIP, EFLAGS, CS, and the other
/// segments.
static mut FRAME: [u64; 12] = [0; 12];
/// The stack pointer of its caller.
#[unsafe(no_mangle)]
static mut FLATLAND_TEST_STACK: u64 = 0;
/// The base of FS: the address of this thread's variables.
static mut FS_BASE: u64 = 0;
/// General registers of a signal's context, as libc numbers them.
static mut CONTEXT: [i64; 23] = [0; 23];
/// FXSAVE's area of it.
static mut FPU: [u8; FPU_SIZE] = [0; FPU_SIZE];

global_asm!(
    ".global flatland_test_enter",
    "flatland_test_enter:",
    "push rbx",
    "push rbp",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "mov [rip + FLATLAND_TEST_STACK], rsp",
    "push qword ptr [rdi + 88]", // SS
    "push qword ptr [rdi + 32]", // ESP
    "push qword ptr [rdi + 72]", // EFLAGS
    "push qword ptr [rdi + 80]", // CS
    "push qword ptr [rdi + 64]", // EIP
    "mov eax, [rdi + 88]",
    "mov ds, eax",
    "mov es, eax",
    "mov fs, eax",
    "mov gs, eax",
    "mov rax, [rdi]",
    "mov rcx, [rdi + 8]",
    "mov rdx, [rdi + 16]",
    "mov rbx, [rdi + 24]",
    "mov rbp, [rdi + 40]",
    "mov rsi, [rdi + 48]",
    "mov rdi, [rdi + 56]",
    "iretq",
    // From the signal's handler.
    ".global flatland_test_leave",
    "flatland_test_leave:",
    "mov rsp, [rip + FLATLAND_TEST_STACK]",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbp",
    "pop rbx",
    "ret",
);

unsafe extern "C" {
    fn flatland_test_enter(frame: *const [u64; 12]);
    fn flatland_test_leave();
}

/// Handles a signal during 32-bit code, on a stack of its own, and continues after the call of
/// [`flatland_test_enter`].
#[expect(
    clippy::multiple_unsafe_ops_per_block,
    reason = "each rests on the same: this process is there for it"
)]
extern "C" fn on_signal(signal: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    const SYS_ARCH_PRCTL: u64 = 158;
    const ARCH_SET_FS: u64 = 0x1002;
    // SAFETY: the kernel hands out a context. This is the only thread, and none of its thread-local variables is used
    // before FS is restored.
    unsafe {
        // This program would fault with AC or NT, which the kernel leaves set.
        asm!("pushfq", "and dword ptr [rsp], {}", "popfq", const !(AC | NT) as i32);
        let registers = &(*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs;
        if registers[libc::REG_CSGSFS as usize] as u64 & 0xffff != CODE {
            // The alarm may arrive before or after a case. Any other signal is a bug of this file.
            if signal == libc::SIGALRM {
                return;
            }
            libc::_exit(1);
        }
        asm!(
            "syscall", inout("rax") SYS_ARCH_PRCTL => _, in("rdi") ARCH_SET_FS, in("rsi") FS_BASE, out("rcx") _,
            out("r11") _,
        );
        CONTEXT = *registers;
        FPU = *(*context.cast::<libc::ucontext_t>()).uc_mcontext.fpregs.cast();
        if signal == libc::SIGALRM {
            CONTEXT[libc::REG_TRAPNO as usize] = NO_VECTOR.into();
        }
        asm!("jmp {leave}", leave = sym flatland_test_leave, options(noreturn));
    }
}

/// Sets up the process's segments, RAM and handlers.
#[expect(
    clippy::multiple_unsafe_ops_per_block,
    reason = "each rests on the same: this process is there for it"
)]
fn set_up() {
    /// `struct user_desc` of the kernel (asm/ldt.h).
    #[repr(C)]
    struct UserDescriptor {
        entry_number: u32,
        base: u32,
        limit: u32,
        flags: u32,
    }
    const WRITE: libc::c_long = 0x11;
    const IS_32_BIT: u32 = 1 << 0;
    const CODE_READABLE: u32 = 2 << 1;
    const LIMIT_IN_PAGES: u32 = 1 << 4;
    const USABLE: u32 = 1 << 6;
    // SAFETY: nothing else is mapped at the address, and the arguments live through the calls or for ever.
    unsafe {
        let protection = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
        let ram = libc::mmap(BASE as *mut _, RAM as usize, protection, flags, -1, 0);
        assert_eq!(ram as usize, BASE, "there must be room below 4 GiB");
        for (entry_number, type_) in [(0, CODE_READABLE), (1, 0)] {
            let descriptor = UserDescriptor {
                entry_number,
                base: BASE as u32,
                limit: 0xf_ffff,
                flags: IS_32_BIT | type_ | LIMIT_IN_PAGES | USABLE,
            };
            let size = size_of::<UserDescriptor>();
            let result = libc::syscall(SYS_MODIFY_LDT, WRITE, &raw const descriptor, size);
            assert_eq!(result, 0, "the kernel must have modify_ldt(2)");
        }
        asm!("mov {}, fs:[0]", out(reg) FS_BASE);
        const STACK: usize = 64 << 10;
        let stack = Box::leak(vec![0_u8; STACK].into_boxed_slice());
        let stack = libc::stack_t { ss_sp: stack.as_mut_ptr().cast(), ss_flags: 0, ss_size: STACK };
        assert_eq!(libc::sigaltstack(&stack, ptr::null_mut()), 0);
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_signal as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
        let signals = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP, libc::SIGALRM];
        for signal in signals {
            assert_eq!(libc::sigaction(signal, &action, ptr::null_mut()), 0);
        }
    }
}

/// Runs a case and sends the result.
#[expect(
    clippy::multiple_unsafe_ops_per_block,
    reason = "each rests on the same: this process is there for it"
)]
fn answer(mut from: &PipeReader, mut to: &PipeWriter) -> io::Result<()> {
    static ONCE: Once = Once::new();
    ONCE.call_once(set_up);
    let [eax, ecx, edx, ebx, esp, ebp, esi, edi, eip, eflags] = {
        let Registers { eax, ebx, ecx, edx, esi, edi, ebp, esp, eip, eflags } = read_registers(&mut from)?;
        [eax, ecx, edx, ebx, esp, ebp, esi, edi, eip, eflags].map(u64::from)
    };
    let ram = read_ram(&mut from)?;
    // SAFETY: RAM is mapped there, and the 32-bit code reaches nothing else. This is the only thread.
    let (context, fpu) = unsafe {
        ptr::copy_nonoverlapping(ram.as_ptr(), BASE as *mut u8, ram.len());
        FRAME = [eax, ecx, edx, ebx, esp, ebp, esi, edi, eip, eflags, CODE, DATA.into()];
        set_alarm(SECONDS);
        flatland_test_enter(&raw const FRAME);
        set_alarm(0);
        (CONTEXT, FPU)
    };
    let register = |number: libc::c_int| context[number as usize] as u32;
    let vector = register(libc::REG_TRAPNO);
    // SAFETY: as above.
    let ram = unsafe { std::slice::from_raw_parts(BASE as *const u8, RAM as usize) };
    let registers = Registers {
        eax: register(libc::REG_RAX),
        ebx: register(libc::REG_RBX),
        ecx: register(libc::REG_RCX),
        edx: register(libc::REG_RDX),
        esi: register(libc::REG_RSI),
        edi: register(libc::REG_RDI),
        ebp: register(libc::REG_RBP),
        esp: register(libc::REG_RSP),
        eip: register(libc::REG_RIP),
        eflags: register(libc::REG_EFL),
    };
    let address = register(libc::REG_CR2).wrapping_sub(BASE as u32);
    let words = [vector, register(libc::REG_ERR), address].into_iter().chain(values(&registers));
    let mut bytes: Vec<u8> = words.flat_map(u32::to_le_bytes).collect();
    bytes.extend(ram);
    bytes.extend(fpu);
    to.write_all(&bytes)
}

/// Sends SIGALRM after this many seconds; 0 cancels it.
fn set_alarm(seconds: i64) {
    let once = libc::itimerval {
        it_interval: libc::timeval { tv_sec: 0, tv_usec: 0 },
        it_value: libc::timeval { tv_sec: seconds, tv_usec: 0 },
    };
    // SAFETY: the value lives long enough.
    unsafe { libc::setitimer(libc::ITIMER_REAL, &once, ptr::null_mut()) };
}
