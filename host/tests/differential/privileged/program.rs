//! Makes the programs: at address 0 the code, above it tables for the processor, a handler, and its log.

use flatland::x86::Registers;

use super::super::random::Random;
use super::super::subject::{Before, RAM};

pub const CODE_END: u32 = 0x2e00;
/// Where far transfers go: `int 0x50`.
const LANDING: u32 = 0x2f00;
const STUBS: u32 = 0x3000;
const HANDLER: u32 = 0x3800;
/// Where the next part begins, and where the next entry of the log goes.
const NEXT: u32 = 0x4000;
pub const LOG_END: u32 = 0x4004;
pub const LOG: u32 = 0x4100;
pub const LOG_LIMIT: u32 = 0x4f00;
const STACK_TOP: u32 = 0x6000;
const GDT: u32 = 0x6000;
const LDT: u32 = 0x6200;
const IDT: u32 = 0x6400;
const TSS: u32 = 0x6a00;
const POINTERS: u32 = 0x6f00;
pub const DIRECTORY: u32 = 0x8000;
pub const TABLE: u32 = 0x9000;
/// The first page, linear and physical, that is mapped at random.
pub const FIRST_PAGE: u32 = 10;
const VECTORS: u32 = 0x58;
const DESCRIPTORS: u32 = 40;

/// Parts of a program.
const PARTS: u32 = 12;

/// Bytes of an entry of the log: what the handler copies, DR6 and CR2.
pub const ENTRY: u32 = 4 * 24;

/// Bytes of code at an address.
pub struct Code {
    pub bytes: Vec<u8>,
}

impl Code {
    pub fn put(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend(bytes);
        self
    }

    fn put_u32(&mut self, value: u32) -> &mut Self {
        self.put(&value.to_le_bytes())
    }

    /// mov reg, imm32
    pub fn mov(&mut self, register: u8, value: u32) -> &mut Self {
        self.put(&[0xb8 + register]).put_u32(value)
    }

    /// push imm32
    fn push(&mut self, value: u32) -> &mut Self {
        self.put(&[0x68]).put_u32(value)
    }

    /// mov dword [address], imm32
    fn store(&mut self, address: u32, value: u32) -> &mut Self {
        self.put(&[0xc7, 0x05]).put_u32(address).put_u32(value)
    }

    fn at(&self) -> u32 {
        self.bytes.len() as u32
    }
}

/// A descriptor of a segment of 4 GiB.
fn segment(access: u8) -> u64 {
    0x00cf_0000_0000_ffff | u64::from(access) << 40
}

fn system_segment(access: u8, base: u32, limit: u32) -> u64 {
    let (base, limit) = (u64::from(base), u64::from(limit));
    limit & 0xffff | (base & 0xff_ffff) << 16 | u64::from(access) << 40 | (base >> 24) << 56
}

/// A gate. `count` is the number of parameters of a call gate.
fn gate(access: u8, selector: u16, offset: u32, count: u8) -> u64 {
    let offset = u64::from(offset);
    offset & 0xffff
        | u64::from(selector) << 16
        | u64::from(count) << 32
        | u64::from(access) << 40
        | (offset & 0xffff_0000) << 32
}

/// The program of a seed.
pub fn program(seed: u64) -> Before {
    let mut random = Random::new(seed);
    let random = &mut random;
    let mut ram = vec![0; RAM as usize];
    for byte in &mut ram[0xa000..] {
        *byte = random.next() as u8;
    }
    let mut put = |address: u32, bytes: &[u8]| {
        ram[address as usize..][..bytes.len()].copy_from_slice(bytes);
    };
    for index in 0..DESCRIPTORS {
        put(GDT + index * 8, &descriptor(random, index).to_le_bytes());
    }
    for index in 0..8 {
        put(LDT + index * 8, &descriptor(random, DESCRIPTORS).to_le_bytes());
    }
    for vector in 0..VECTORS {
        let stub = STUBS + vector * 8;
        put(IDT + vector * 8, &gate_of(random, vector, stub).to_le_bytes());
        let mut code = Code { bytes: vec![0x6a, vector as u8, 0xe9] };
        code.put_u32(HANDLER.wrapping_sub(stub + 7));
        put(stub, &code.bytes);
    }
    put(TSS, &tss(random));
    put(HANDLER, &handler());
    put(LANDING, &[0xcd, 0x50]);
    put(LOG_END, &LOG.to_le_bytes());
    let pointer = |limit: u32, base: u32| [&(limit as u16).to_le_bytes()[..], &base.to_le_bytes()].concat();
    put(POINTERS, &pointer(DESCRIPTORS * 8 - 1, GDT));
    put(POINTERS + 8, &pointer(VECTORS * 8 - 1, IDT));
    put(DIRECTORY, &(TABLE | 7).to_le_bytes());
    let second = if random.one_in(2) { TABLE | random.below(8) } else { 0x80 | random.below(8) };
    put(DIRECTORY + 4, &second.to_le_bytes());
    for page in 0..32 {
        let entry = match page {
            ..3 => page << 12 | 5 | random.below(2) << 1,
            7 => page << 12 | 7,
            3..FIRST_PAGE => page << 12 | 3 | (random.below(4) / 3 * 4),
            _ => entry(random),
        };
        put(TABLE + page * 4, &entry.to_le_bytes());
    }
    let code = code(random);
    assert!(code.len() as u32 <= CODE_END);
    put(0, &code);
    Before { registers: Registers { esp: STACK_TOP, eflags: 2, ..Registers::default() }, ram }
}

/// An entry of the page table for a page that the program plays with.
fn entry(random: &mut Random) -> u32 {
    let page = FIRST_PAGE + random.below(16 - FIRST_PAGE);
    let flags = if random.one_in(5) { random.below(8) & !1 } else { random.below(8) | 1 };
    let used = random.below(4) << 5;
    page << 12 | flags | if random.one_in(2) { used } else { 0 }
}

fn descriptor(random: &mut Random, index: u32) -> u64 {
    let level = |random: &mut Random| (random.below(4) << 5) as u8;
    match index {
        0 => 0,
        1 => segment(0x9b),
        2 => segment(0x93),
        3 => segment(0xfb),
        4 => segment(0xf3),
        5 => system_segment(0x89, TSS, 0x1ff),
        6 => system_segment(0x82, LDT, 63),
        7 => segment(0xbb),
        8 => segment(0xb3),
        9 => segment(0xdb),
        10 => segment(0xd3),
        _ => {
            let present = if random.one_in(8) { 0 } else { 0x80 };
            let access = present | level(random);
            match random.below(8) {
                ..3 => {
                    let selector = (random.below(DESCRIPTORS) as u16 * 8) | random.below(4) as u16;
                    let selector =
                        if random.one_in(3) { selector } else { *random.choose(&[8, 0x38, 0x48, 0x18]) };
                    let count = if random.one_in(2) { 0 } else { random.below(5) as u8 };
                    gate(access | 0xc, selector, LANDING, count)
                }
                3 => system_segment(access | *random.choose(&[0x2, 0x0, 0x8, 0xa, 0xb]), LDT, 63),
                // Code and data of any type but one that expands down, accessed: not each KVM sets that flag.
                _ => segment(access | 0x10 | *random.choose(&[1, 3, 9, 11, 13, 15])),
            }
        }
    }
}

fn gate_of(random: &mut Random, vector: u32, stub: u32) -> u64 {
    let kind = if random.one_in(3) { 0xf } else { 0xe };
    match vector {
        0x50 => gate(0xee, 8, stub, 0),
        // An exception whose own gate is bad is a double fault.
        0..0x40 if vector == 8 || !random.one_in(24) => gate(0x80 | kind, 8, stub, 0),
        _ => {
            let present = if random.one_in(8) { 0 } else { 0x80 };
            let level = if random.one_in(2) { 0x60 } else { random.below(4) as u8 * 0x20 };
            let kind = if random.one_in(8) { *random.choose(&[0, 2, 0xc, 0xa]) } else { kind };
            let any = (random.below(DESCRIPTORS) as u16 * 8) | random.below(4) as u16;
            let selector = if random.one_in(3) { any } else { *random.choose(&[8, 0x38, 0x48, 0x18]) };
            gate(present | level | kind, selector, stub, 0)
        }
    }
}

fn tss(random: &mut Random) -> Vec<u8> {
    let mut tss = vec![0; 0x200];
    let mut put = |at: usize, value: u32| tss[at..at + 4].copy_from_slice(&value.to_le_bytes());
    put(4, STACK_TOP - random.below(4) * 4);
    put(8, 0x10);
    for level in 1..3 {
        put(4 + 8 * level, 0x7000 + 0x400 * level as u32);
        let any = (random.below(DESCRIPTORS) * 8) | random.below(4);
        put(8 + 8 * level, if random.one_in(4) { any } else { (0x30 + 0x10 * level as u32) | level as u32 });
    }
    put(0x64, if random.one_in(8) { 0x1f8 << 16 } else { 0x68 << 16 });
    for byte in &mut tss[0x68..] {
        *byte = if random.one_in(2) { 0 } else { random.next() as u8 };
    }
    tss
}

/// Logs what was pushed, and goes on at [`NEXT`].
fn handler() -> Vec<u8> {
    let mut code = Code { bytes: Vec::new() };
    // pushad; and mov eax, ds; push eax, of ds, es, fs and gs: what `push ds` does with the upper half is the processor's.
    code.put(&[0x60]);
    for register in [3, 0, 4, 5] {
        code.put(&[0x8c, 0xc0 | register << 3, 0x50]);
    }
    // mov eax, 0x10; mov ds, eax; mov es, eax; mov ss, eax
    code.mov(0, 0x10).put(&[0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0]);
    // mov edi, [LOG_END]; cmp edi, LOG_LIMIT - ENTRY; jb over the hlt
    code.put(&[0x8b, 0x3d])
        .put_u32(LOG_END)
        .put(&[0x81, 0xff])
        .put_u32(LOG_LIMIT - ENTRY)
        .put(&[0x72, 0x01, 0xf4]);
    // mov esi, esp; cld; mov ecx, 22; rep movsd; mov eax, dr6; stosd; mov eax, cr2; stosd; mov [LOG_END], edi
    code.put(&[0x89, 0xe6, 0xfc]).mov(1, ENTRY / 4 - 2).put(&[0xf3, 0xa5, 0x0f, 0x21, 0xf0, 0xab]);
    code.put(&[0x0f, 0x20, 0xd0, 0xab]);
    code.put(&[0x89, 0x3d]).put_u32(LOG_END);
    // xor eax, eax; mov dr7, eax: a breakpoint is for one part
    code.put(&[0x31, 0xc0, 0x0f, 0x23, 0xf8]);
    // mov esp, STACK_TOP; push 2; popfd; jmp [NEXT]
    code.mov(4, STACK_TOP).put(&[0x6a, 2, 0x9d, 0xff, 0x25]).put_u32(NEXT);
    code.bytes
}

fn code(random: &mut Random) -> Vec<u8> {
    let mut code = Code { bytes: Vec::new() };
    // lgdt; lidt; mov cr3; mov cr4; mov cr0; jmp 8:here
    code.put(&[0x0f, 0x01, 0x15]).put_u32(POINTERS).put(&[0x0f, 0x01, 0x1d]).put_u32(POINTERS + 8);
    code.mov(0, DIRECTORY).put(&[0x0f, 0x22, 0xd8]);
    code.mov(0, random.below(2) << 7 | random.below(2) << 4 | random.below(2) << 2).put(&[0x0f, 0x22, 0xe0]);
    // Without CR0.AM: QEMU's processor checks no alignment.
    code.mov(0, 0x8000_0011 | random.below(2) << 16).put(&[0x0f, 0x22, 0xc0]);
    let here = code.at() + 7;
    code.put(&[0xea]).put_u32(here).put(&[8, 0]);
    // mov eax, 0x28; ltr ax; mov eax, 0x30; lldt ax
    code.mov(0, 0x28).put(&[0x0f, 0x00, 0xd8]).mov(0, 0x30).put(&[0x0f, 0x00, 0xd0]);
    // IA32_SYSENTER_CS, ESP and EIP
    for (number, value) in [(0x174, 8), (0x175, STACK_TOP), (0x176, LANDING)] {
        code.mov(1, number).mov(0, value).put(&[0x31, 0xd2, 0x0f, 0x30]);
    }
    for _ in 0..PARTS {
        let next_at = code.at() + 6;
        code.store(NEXT, 0);
        for register in [0, 1, 2, 3, 5, 6, 7] {
            let value = if random.one_in(2) { address(random) } else { random.number() };
            code.mov(register, value);
        }
        if random.one_in(5) {
            // mov [entry], imm32; mov eax, cr3; mov cr3, eax
            code.store(TABLE + (FIRST_PAGE + random.below(22)) * 4, entry(random));
            code.put(&[0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8]);
        }
        let level = *random.choose(&[0, 0, 1, 2, 3, 3, 3, 3]);
        if level > 0 {
            let [stack, selector] = [[0x41, 0x39], [0x52, 0x4a], [0x23, 0x1b]][level - 1];
            // mov ecx, 0x23; mov ds, ecx; mov es, ecx: not each KVM refuses an access by a null selector.
            code.mov(1, 0x23).put(&[0x8e, 0xd9, 0x8e, 0xc1]);
            code.push(stack).push(0x7000 + 0x400 * level as u32).push(flags(random)).push(selector);
            let inside = code.at() + 6;
            code.push(inside).put(&[0xcf]);
        }
        for _ in 0..1 + random.below(4) {
            instruction(random, &mut code);
        }
        // int 0x50
        code.put(&[0xcd, 0x50]);
        let next = code.at();
        code.bytes[next_at as usize..][..4].copy_from_slice(&next.to_le_bytes());
    }
    code.put(&[0xf4]);
    code.bytes
}

/// EFLAGS without NT and VM, and seldom with TF.
fn flags(random: &mut Random) -> u32 {
    let tf = if random.one_in(16) { 1 << 8 } else { 0 };
    random.next() & 0x0004_3ed5 | tf | 2
}

/// An address on the pages that are mapped at random, often near the end of one.
fn address(random: &mut Random) -> u32 {
    // A page of 4 MiB has no more memory than this.
    let (high, pages) = if random.one_in(8) { (0x40_0000, 5) } else { (0, 23) };
    let page = FIRST_PAGE + random.below(pages);
    let offset = if random.one_in(2) { random.below(0x1000) } else { 0xff8 + random.below(16) };
    high + (page << 12) + offset
}

fn selector(random: &mut Random) -> u16 {
    let index = if random.one_in(3) { random.below(11) } else { random.below(DESCRIPTORS + 2) };
    let in_ldt = if random.one_in(8) { 4 } else { 0 };
    ((index * 8) | random.below(4)) as u16 | in_ldt
}

fn pick<'a>(random: &mut Random, from: &[&'a [u8]]) -> &'a [u8] {
    let &chosen = random.choose(from);
    chosen
}

/// mov eax, value; mov dr, eax
fn set_debug_register(code: &mut Code, register: u8, value: u32) {
    code.mov(0, value).put(&[0x0f, 0x23, 0xc0 | register << 3]);
}

/// Breakpoints for the next instruction, or for what it accesses. At an outer level they cannot be set.
fn breakpoint(random: &mut Random, code: &mut Code) {
    /// mov eax, value; mov dr, eax
    const SIZE: u32 = 8;
    let number = random.below(4);
    let enable = (1 + random.below(3)) << (number * 2);
    if random.one_in(2) {
        let at = code.at() + 2 * SIZE;
        set_debug_register(code, number as u8, at + random.below(8) / 7);
        set_debug_register(code, 7, enable);
        code.put(pick(random, &[&[0x90][..], &[0x0f, 0x21, 0xf0], &[0x0f, 0x0b], &[0xcd, 0x41], &[0xf4]]));
    } else {
        // Aligned, as QEMU's processor does not do that. The access is one that it makes once.
        let at = address(random) & !3;
        let kind = (*random.choose(&[1, 3])) | *random.choose(&[0, 4, 12]);
        set_debug_register(code, number as u8, at);
        set_debug_register(code, 7, enable | kind << (16 + number * 4));
        let access: [&[u8]; 5] =
            [&[0x8b, 0x1d], &[0x89, 0x0d], &[0x8a, 0x15], &[0x88, 0x15], &[0x66, 0x89, 0x0d]];
        code.put(pick(random, &access)).put_u32(at + random.below(4));
    }
    // mov eax, dr6; xor eax, eax; mov dr7, eax
    code.put(&[0x0f, 0x21, 0xf0, 0x31, 0xc0, 0x0f, 0x23, 0xf8]);
}

/// An instruction that may fault, with what it needs.
fn instruction(random: &mut Random, code: &mut Code) {
    const WITH_MEMORY: [&[u8]; 24] = [
        &[0x8b, 0x05],
        &[0x89, 0x0d],
        &[0x8a, 0x05],
        &[0x88, 0x15],
        &[0x01, 0x05],
        &[0x31, 0x1d],
        &[0x66, 0x8b, 0x05],
        &[0x66, 0x89, 0x0d],
        &[0x66, 0x29, 0x05],
        &[0x0f, 0xb1, 0x0d],
        &[0x87, 0x0d],
        &[0xff, 0x05],
        &[0xff, 0x35],
        &[0x8f, 0x05],
        &[0x0f, 0xc1, 0x05],
        &[0x0f, 0xab, 0x05],
        &[0x0f, 0xc7, 0x0d],
        &[0x0f, 0xb4, 0x05],
        &[0x0f, 0x00, 0x25],
        &[0x0f, 0x01, 0x05],
        &[0x0f, 0x01, 0x3d],
        &[0x0f, 0x01, 0x25],
        &[0x0f, 0xb7, 0x05],
        &[0x84, 0x05],
    ];
    const STRINGS: [&[u8]; 12] = [
        &[0xa4],
        &[0xa5],
        &[0xaa],
        &[0xab],
        &[0xac],
        &[0xa6],
        &[0xae],
        &[0xf3, 0xa4],
        &[0xf3, 0xa5],
        &[0xf3, 0xaa],
        &[0xf3, 0xa6],
        &[0xf2, 0xae],
    ];
    match random.below(25) {
        24 => breakpoint(random, code),
        0..=5 => {
            let with_memory = pick(random, &WITH_MEMORY);
            // `sgdt` may store a part.
            let mask = if with_memory == [0x0f, 0x01, 0x05] { !7 } else { !0 };
            code.put(with_memory).put_u32(address(random) & mask);
        }
        6 | 7 => {
            // mov esi; mov edi; mov ecx; and a string instruction
            let string = pick(random, &STRINGS);
            // Which operand of `cmps` faults first is the processor's, so one lies on a page that is used anyway.
            let is_cmps = string.contains(&0xa6);
            let to = if is_cmps { 0x100 } else { address(random) };
            code.mov(6, address(random)).mov(7, to).mov(1, random.below(20)).put(string);
        }
        8 => {
            // mov esp; push eax, pop eax, pushfd
            code.mov(4, address(random) & !3);
            code.put(pick(random, &[&[0x50][..], &[0x58], &[0x9c]]));
        }
        9 | 10 => {
            // mov eax, selector; mov fs, gs or ss, ax
            let register = *random.choose(&[2, 4, 5]);
            code.mov(0, selector(random).into()).put(&[0x8e, 0xc0 | register << 3]);
        }
        11 => {
            // lar, lsl, verr, verw, arpl
            let examine = pick(
                random,
                &[
                    &[0x0f, 0x02, 0xd8][..],
                    &[0x0f, 0x03, 0xd8],
                    &[0x0f, 0x00, 0xe0],
                    &[0x0f, 0x00, 0xe8],
                    &[0x63, 0xd8],
                ],
            );
            code.mov(0, selector(random).into()).put(examine);
        }
        12 | 13 => {
            // call or jmp selector:LANDING
            code.put(&[*random.choose(&[0x9a, 0xea])]).put_u32(LANDING).put(&selector(random).to_le_bytes());
        }
        14 => {
            // push selector; push LANDING; lret or lret 8
            let data = selector(random);
            code.push(data.into()).push(0x7c00).push(0).push(0);
            code.push(selector(random).into()).push(LANDING);
            code.put(pick(random, &[&[0xcb][..], &[0xca, 8, 0]]));
        }
        15 => {
            // push ss; push esp; pushfd; push cs; push LANDING; iret
            let data = selector(random);
            code.push(data.into())
                .push(0x7c00)
                .push(flags(random))
                .push(selector(random).into())
                .push(LANDING);
            code.put(&[0xcf]);
        }
        16 | 17 => {
            // int n, int3, into
            let vector = if random.one_in(4) { random.below(VECTORS + 8) } else { 0x40 + random.below(16) };
            match random.below(6) {
                0 => code.put(&[0xcc]),
                1 => code.put(&[0xce]),
                _ => code.put(&[0xcd, vector as u8]),
            };
        }
        18 => {
            // cli, sti, pushfd, popfd, clts, hlt at an outer level is not told from the end
            match random.below(4) {
                0 => code.put(&[0xfa]),
                1 => code.put(&[0xfb]),
                2 => code.put(&[0x9c]),
                _ => code.push(flags(random)).put(&[0x9d]),
            };
        }
        19 => {
            // in al, imm8; out imm8, al; in eax, dx; out dx, al. KVM emulates `insb` and `outsb`, and finds
            // bad addresses late.
            let port = random.below(256) as u8;
            match random.below(3) {
                0 => code.put(&[0xe4, port]),
                1 => code.put(&[0xe7, port]),
                _ => code.mov(2, random.below(0x800)).put(pick(random, &[&[0xed][..], &[0xee]])),
            };
        }
        20 => {
            // mov eax, cr0; mov eax, cr2; mov cr2, eax; clts; invlpg; lmsw; str, sldt, smsw; rdtsc's bit; ltr, lldt
            let system: [&[u8]; 9] = [
                &[0x0f, 0x20, 0xc0],
                &[0x0f, 0x20, 0xd0],
                &[0x0f, 0x22, 0xd0],
                &[0x0f, 0x06],
                &[0x0f, 0x00, 0xc8],
                &[0x0f, 0x00, 0xc0],
                &[0x0f, 0x01, 0xe0],
                &[0x0f, 0x00, 0xd8],
                &[0x0f, 0x00, 0xd0],
            ];
            let mut selector = selector(random).into();
            let system = pick(random, &system);
            if system == [0x0f, 0x00, 0xd8] && selector < 4 {
                // QEMU's processor takes a null selector for TR, and gives up at the next change of the stack.
                selector = 0x28;
            }
            code.mov(0, selector).put(system);
        }
        21 => {
            // sysenter; mov ecx; mov edx; sysexit
            if random.one_in(2) {
                code.put(&[0x0f, 0x34]);
            } else {
                code.mov(1, 0x7c00).mov(2, LANDING).put(&[0x0f, 0x35]);
            }
        }
        22 => {
            // mov ecx; rdmsr or wrmsr of sysenter's
            code.mov(1, 0x174 + random.below(3)).put(&[0x0f, 0x32]);
        }
        _ => {
            // mov eax, cr0; xor eax, WP; mov cr0, eax
            code.put(&[0x0f, 0x20, 0xc0, 0x35, 0, 0, 1, 0, 0x0f, 0x22, 0xc0]);
        }
    }
}
