//! Images that go wrong.

use flatland::report::Backtraces;

/// An image of a few bytes, and how it is run.
pub struct Case {
    pub name: &'static str,
    pub code: &'static [u8],
    /// RAM.
    pub memory: &'static str,
    /// The functions that the ELF file names, with their addresses; without any there is no ELF file.
    pub functions: &'static [(&'static str, u32)],
    /// Whether the ELF file has other code.
    pub is_of_another_image: bool,
    pub backtraces: Backtraces,
    /// The limit of instructions, which only `soft` can keep.
    pub instructions: Option<u64>,
    pub soft_only: bool,
    /// Whether it needs a time limit.
    pub is_endless: bool,
}

const PLAIN: Case = Case {
    name: "",
    code: &[],
    memory: "1M",
    functions: &[],
    is_of_another_image: false,
    backtraces: Backtraces::Auto,
    instructions: None,
    soft_only: false,
    is_endless: false,
};

/// `_start` with a call to `main`, as in the runtime.
/// 0: xor ebp, ebp; 2: call 8; 7: hlt
const START: [u8; 8] = [0x31, 0xed, 0xe8, 1, 0, 0, 0, 0xf4];

/// Code after the start.
macro_rules! main {
    ($($byte:expr),* $(,)?) => {{
        const CODE: &[u8] = &{
            const MAIN: &[u8] = &[$($byte),*];
            let mut code = [0; START.len() + MAIN.len()];
            let mut at = 0;
            while at < code.len() {
                code[at] = if at < START.len() { START[at] } else { MAIN[at - START.len()] };
                at += 1;
            }
            code
        };
        CODE
    }};
}

const MAIN: &[(&str, u32)] = &[("_start", 0), ("main", 8)];

#[rustfmt::skip]
pub const CASES: &[Case] = &[
    // Without symbols.

    // 0: xor ecx, ecx; 2: div ecx
    Case { name: "division by zero", code: &[0x31, 0xc9, 0xf7, 0xf1], ..PLAIN },
    // 0: mov eax, 0x80000000; 5: cdq; 6: or ecx, -1; 9: idiv ecx
    Case { name: "quotient too large", code: &[0xb8, 0, 0, 0, 0x80, 0x99, 0x83, 0xc9, 0xff, 0xf7, 0xf9], ..PLAIN },
    // 0: push 0x12345678; 5: ud2
    Case { name: "invalid opcode", code: &[0x68, 0x78, 0x56, 0x34, 0x12, 0x0f, 0x0b], ..PLAIN },
    // 0: mov ax, 0x30; 4: mov es, ax
    Case { name: "bad selector", code: &[0x66, 0xb8, 0x30, 0, 0x8e, 0xc0], ..PLAIN },
    // 0: mov ax, 0x30; 4: mov ss, ax
    Case { name: "bad stack selector", code: &[0x66, 0xb8, 0x30, 0, 0x8e, 0xd0], ..PLAIN },
    // 0: int3
    Case { name: "breakpoint", code: &[0xcc], ..PLAIN },
    // 0: int 0x30
    Case { name: "interrupt beyond the table", code: &[0xcd, 0x30], ..PLAIN },
    // 0: addps xmm0, xmm1
    Case { name: "sse", code: &[0x0f, 0x58, 0xc1], ..PLAIN },
    // 0: mov al, [0x12345678]
    Case { name: "read outside ram", code: &[0xa0, 0x78, 0x56, 0x34, 0x12], ..PLAIN },
    // 0: mov byte [0xb8000], 0x41
    Case { name: "write outside ram", code: &[0xc6, 0x05, 0, 0x80, 0x0b, 0, 0x41], memory: "64K", ..PLAIN },
    // 0: mov [0xfd000000], eax
    Case { name: "write where no ram can be", code: &[0xa3, 0, 0, 0, 0xfe], ..PLAIN },
    // 0: mov esp, 0x200000; 5: push eax
    Case { name: "push outside ram", code: &[0xbc, 0, 0, 0x20, 0, 0x50], ..PLAIN },
    // 0: mov eax, 0x2000000; 5: jmp eax
    Case { name: "jump outside ram", code: &[0xb8, 0, 0, 0, 2, 0xff, 0xe0], ..PLAIN },
    // 0: jmp 0xffff; ffff: the first byte of mov eax, N, which ends beyond RAM.
    Case { name: "code that runs off the end of ram", code: &[0xe9, 0xfa, 0xff, 0, 0], memory: "64K", ..PLAIN },
    // 0: out 0x80, al
    Case { name: "unknown port", code: &[0xe6, 0x80], ..PLAIN },
    // 0: mov dx, 0x3f8; 4: in al, dx
    Case { name: "input from an unknown port", code: &[0x66, 0xba, 0xf8, 3, 0xec], ..PLAIN },
    // 0: out 0xe9, eax
    Case { name: "too wide for the port", code: &[0xe7, 0xe9], ..PLAIN },
    // 0: in al, 0xf4
    Case { name: "wrong way through a port", code: &[0xe4, 0xf4], ..PLAIN },
    // 0: mov dx, 0x3f8; 4: outsb
    Case { name: "string to an unknown port", code: &[0x66, 0xba, 0xf8, 3, 0x6e], ..PLAIN },
    // 0: lidt [0x100]; 7: ud2
    Case { name: "triple fault", code: &[0x0f, 0x01, 0x1d, 0, 1, 0, 0, 0x0f, 0x0b], ..PLAIN },
    // 0: mov esp, 0x200000; 5: ud2
    Case { name: "exception without a stack", code: &[0xbc, 0, 0, 0x20, 0, 0x0f, 0x0b], ..PLAIN },
    // 0: jmp 3; 2: the first byte of a longer instruction; 3: mov [0x200000], al. Decoding from the start misreads
    // the byte between, and KVM does not know where the instruction begins.
    Case { name: "store behind data", code: &[0xeb, 1, 0xa2, 0xa2, 0, 0, 0x20, 0], ..PLAIN },
    // 0: jmp 0
    Case { name: "time limit", code: &[0xeb, 0xfe], is_endless: true, ..PLAIN },
    // 0: jmp 0
    Case { name: "instruction limit", code: &[0xeb, 0xfe], instructions: Some(10), soft_only: true, ..PLAIN },
    // 0: jmp 0
    Case { name: "always a backtrace", code: &[0xeb, 0xfe], is_endless: true, backtraces: Backtraces::Always, ..PLAIN },
    // 0: mov al, 101; 2: out 0xf4, al
    Case { name: "status of a panic without symbols", code: &[0xb0, 101, 0xe6, 0xf4], ..PLAIN },

    // With symbols. `main` makes a frame: 8: push ebp; 9: mov ebp, esp

    // b: ud2
    Case { name: "fault in main", code: main![0x55, 0x89, 0xe5, 0x0f, 0x0b], functions: MAIN, ..PLAIN },
    // b: ud2
    Case { name: "all calls", code: main![0x55, 0x89, 0xe5, 0x0f, 0x0b], functions: MAIN, backtraces: Backtraces::Always, ..PLAIN },
    // b: ud2
    Case { name: "no calls", code: main![0x55, 0x89, 0xe5, 0x0f, 0x0b], functions: MAIN, backtraces: Backtraces::Never, ..PLAIN },
    // b: mov [4], eax
    Case { name: "null pointer", code: main![0x55, 0x89, 0xe5, 0xa3, 4, 0, 0, 0], functions: MAIN, ..PLAIN },
    // b: inc dword [0x1008]
    Case { name: "write to a constant", code: main![0x55, 0x89, 0xe5, 0xff, 0x05, 8, 0x10, 0, 0], functions: MAIN, ..PLAIN },
    // b: mov eax, [0xdf000]
    Case { name: "read in the guard", code: main![0x55, 0x89, 0xe5, 0xa1, 0, 0xf0, 0x0d, 0], functions: MAIN, ..PLAIN },
    // b: mov edi, 0xdefff; 10: stosd
    Case { name: "write in the guard", code: main![0x55, 0x89, 0xe5, 0xbf, 0xff, 0xef, 0x0d, 0, 0xab], functions: MAIN, ..PLAIN },
    // b: mov eax, 0xdf000; 10: call eax; 12: leave; 13: ret
    Case { name: "call into the guard", code: main![0x55, 0x89, 0xe5, 0xb8, 0, 0xf0, 0x0d, 0, 0xff, 0xd0, 0xc9, 0xc3], functions: MAIN, ..PLAIN },
    // b: mov eax, 0x2000000; 10: call eax; 12: leave; 13: ret
    Case { name: "call through a bad pointer", code: main![0x55, 0x89, 0xe5, 0xb8, 0, 0, 0, 2, 0xff, 0xd0, 0xc9, 0xc3], functions: MAIN, ..PLAIN },
    // b: mov eax, 0x2000000; 10: jmp eax
    Case { name: "jump through a bad pointer", code: main![0x55, 0x89, 0xe5, 0xb8, 0, 0, 0, 2, 0xff, 0xe0], functions: MAIN, ..PLAIN },
    // b: call 8
    Case { name: "stack overflow by a call", code: main![0x55, 0x89, 0xe5, 0xe8, 0xf8, 0xff, 0xff, 0xff], functions: MAIN, ..PLAIN },
    // b: push eax; c: call 8
    Case { name: "stack overflow by a push", code: main![0x55, 0x89, 0xe5, 0x50, 0xe8, 0xf7, 0xff, 0xff, 0xff], functions: MAIN, ..PLAIN },
    // b: sub esp, 0x20000; 11: mov [esp], eax
    Case { name: "stack overflow by a variable", code: main![0x55, 0x89, 0xe5, 0x81, 0xec, 0, 0, 2, 0, 0x89, 0x04, 0x24], functions: MAIN, ..PLAIN },
    // b: sub esp, 0x20000; 11: ud2
    Case { name: "stack overflow by an exception", code: main![0x55, 0x89, 0xe5, 0x81, 0xec, 0, 0, 2, 0, 0x0f, 0x0b], functions: MAIN, ..PLAIN },
    // b: sub esp, 8; e: call 15; 13: leave; 14: ret; inner, 15: ud2
    Case { name: "fault before the frame is made", code: main![0x55, 0x89, 0xe5, 0x83, 0xec, 8, 0xe8, 2, 0, 0, 0, 0xc9, 0xc3, 0x0f, 0x0b], functions: &[("_start", 0), ("main", 8), ("inner", 0x15)], ..PLAIN },
    // b: call 12; 10: leave; 11: ret; inner, 12: push ebx; 13: sub esp, 12; 16: ud2
    Case { name: "fault without a frame", code: main![0x55, 0x89, 0xe5, 0xe8, 2, 0, 0, 0, 0xc9, 0xc3, 0x53, 0x83, 0xec, 12, 0x0f, 0x0b], functions: &[("_start", 0), ("main", 8), ("inner", 0x12)], ..PLAIN },
    // b: call 12; 10: leave; 11: ret; inner, 12: push ebp; 13: ud2
    Case { name: "fault while the frame is made", code: main![0x55, 0x89, 0xe5, 0xe8, 2, 0, 0, 0, 0xc9, 0xc3, 0x55, 0x0f, 0x0b], functions: &[("_start", 0), ("main", 8), ("inner", 0x12)], ..PLAIN },
    // b: call 12; 10: leave; 11: ret; inner, 12: push ebp; 13: mov ebp, esp; 15: pop ebp; 16: ud2
    Case { name: "fault when the frame is gone", code: main![0x55, 0x89, 0xe5, 0xe8, 2, 0, 0, 0, 0xc9, 0xc3, 0x55, 0x89, 0xe5, 0x5d, 0x0f, 0x0b], functions: &[("_start", 0), ("main", 8), ("inner", 0x12)], ..PLAIN },
    // b: mov [ebp], ebp; e: ud2
    Case { name: "circular frames", code: main![0x55, 0x89, 0xe5, 0x89, 0x6d, 0, 0x0f, 0x0b], functions: MAIN, ..PLAIN },
    // b: mov dword [ebp+4], 0x1234; 12: ud2
    Case { name: "return address that is none", code: main![0x55, 0x89, 0xe5, 0xc7, 0x45, 4, 0x34, 0x12, 0, 0, 0x0f, 0x0b], functions: MAIN, ..PLAIN },
    // b: mov ebp, 0x4000000; 10: ud2
    Case { name: "frame pointer to nowhere", code: main![0x55, 0x89, 0xe5, 0xbd, 0, 0, 0, 4, 0x0f, 0x0b], functions: MAIN, ..PLAIN },
    // b: jmp b
    Case { name: "time limit in main", code: main![0x55, 0x89, 0xe5, 0xeb, 0xfe], functions: MAIN, is_endless: true, ..PLAIN },
    // b: call 12; 10: leave; 11: ret; 12: push ebp; 13: mov ebp, esp; 15: mov al, 101; 17: out 0xf4, al
    Case { name: "panic", code: main![0x55, 0x89, 0xe5, 0xe8, 2, 0, 0, 0, 0xc9, 0xc3, 0x55, 0x89, 0xe5, 0xb0, 101, 0xe6, 0xf4], functions: &[("_start", 0), ("main", 8), ("rust_begin_unwind", 0x12)], ..PLAIN },
    Case { name: "panic with all calls", code: main![0x55, 0x89, 0xe5, 0xe8, 2, 0, 0, 0, 0xc9, 0xc3, 0x55, 0x89, 0xe5, 0xb0, 101, 0xe6, 0xf4], functions: &[("_start", 0), ("main", 8), ("rust_begin_unwind", 0x12)], backtraces: Backtraces::Always, ..PLAIN },
    Case { name: "status of a panic", code: main![0x55, 0x89, 0xe5, 0xe8, 2, 0, 0, 0, 0xc9, 0xc3, 0x55, 0x89, 0xe5, 0xb0, 101, 0xe6, 0xf4], functions: &[("_start", 0), ("main", 8), ("exit", 0x12)], ..PLAIN },
    // b: mov [4], al; 10: hlt. The ELF file's protection is not applied; otherwise the fault would be at another
    // place.
    Case { name: "symbols of another image", code: main![0x55, 0x89, 0xe5, 0xa2, 0, 0, 0, 0, 0x0f, 0x0b], functions: MAIN, is_of_another_image: true, ..PLAIN },
];
