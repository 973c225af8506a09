//! Random programs that compute with what they read, and send results.

use super::random::Random;

/// Data of the random programs: this many bytes from here on.
pub const DATA: u32 = 0x8000;
pub const DATA_SIZE: u32 = 0x1000;

/// An input for such a program, which may end before the program does.
pub fn random_input(random: &mut Random) -> Vec<u8> {
    (0..random.below(2000)).map(|_| random.next() as u8).collect()
}

/// A program that computes with what it reads at all ports, and sends results. It uses no undefined flag.
pub fn random_program(random: &mut Random) -> Vec<u8> {
    let mut code = Vec::new();
    let blocks = random.below(12) + 1;
    for _ in 0..blocks {
        let times = random.below(20) + 1;
        // mov ebp, TIMES
        code.push(0xbd);
        code.extend(times.to_le_bytes());
        let start = code.len();
        for _ in 0..=random.below(12) {
            instruction(random, &mut code);
        }
        // dec ebp; jnz start
        code.extend([0x4d, 0x0f, 0x85]);
        let back = (start as i32) - (code.len() as i32 + 4);
        code.extend(back.to_le_bytes());
    }
    match random.below(6) {
        // mov al, STATUS; out 0xf4, al
        0 => code.extend([0xb0, random.next() as u8, 0xe6, 0xf4]),
        // xor ecx, ecx; test ecx, ecx; div ecx
        1 => code.extend([0x31, 0xc9, 0x85, 0xc9, 0xf7, 0xf1]),
        // mov eax, [0xf0000000]
        2 => code.extend([0xa1, 0, 0, 0, 0xf0]),
        // in al, 0xe9; jmp there
        3 => code.extend([0xe4, 0xe9, 0xeb, 0xfc]),
        _ => {}
    }
    code.push(0xf4); // hlt
    code
}

fn instruction(random: &mut Random, code: &mut Vec<u8>) {
    let address = |random: &mut Random| (DATA + random.below(DATA_SIZE - 256)).to_le_bytes();
    // EAX, ECX, EDX or EBX.
    let register = |random: &mut Random| random.below(4) as u8;
    let load = |code: &mut Vec<u8>, register: u8, value: u32| {
        code.push(0xb8 | register);
        code.extend(value.to_le_bytes());
    };
    const ECX: u8 = 1;
    const EDX: u8 = 2;
    const ESI: u8 = 6;
    const EDI: u8 = 7;
    match random.below(14) {
        // add, sub, adc after cmp, and, or, xor, cmp
        0 | 1 => {
            let opcode = [0x01, 0x29, 0x21, 0x09, 0x31, 0x39][random.below(6) as usize];
            code.extend([opcode, 0xc0 | register(random) << 3 | register(random)]);
        }
        // cmp; adc
        2 => code.extend([0x39, 0xc8, 0x11, 0xc0 | register(random) << 3 | register(random)]),
        // imul, and flags that are defined again
        3 => {
            let (to, from) = (register(random), register(random));
            code.extend([0x0f, 0xaf, 0xc0 | to << 3 | from, 0x85, 0xc0]);
        }
        // rol and shr by a constant, and flags that are defined again
        4 => code.extend([0xc1, 0xc0 | register(random), 7, 0xc1, 0xe8 | register(random), 3, 0x85, 0xc9]),
        5 => load(code, register(random), random.next()),
        // mov [address], register
        6 | 7 => {
            code.extend([0x89, 0x05 | register(random) << 3]);
            code.extend(address(random));
        }
        // mov register, [address]
        8 => {
            code.extend([0x8b, 0x05 | register(random) << 3]);
            code.extend(address(random));
        }
        // jz or jc over the next one: test al, al; jcc; inc register
        9 => code.extend([0x84, 0xc0, [0x74, 0x78][random.below(2) as usize], 1, 0x40 | register(random)]),
        // in al, PORT: console, ready, layout, arguments, clock, random
        10 => code.extend([0xe4, [0xe9, 0xe9, 0xeb, 0xec, 0xed, 0xee, 0xef][random.below(7) as usize]]),
        // out PORT, al: console, diagnostics
        11 => code.extend([0xe6, [0xe9, 0xea][random.below(2) as usize]]),
        // rep insb
        12 => {
            load(code, EDI, DATA + random.below(DATA_SIZE - 256));
            load(code, ECX, random.below(40));
            load(code, EDX, [0xe9, 0xe9, 0xe9, 0xeb, 0xee, 0xef][random.below(6) as usize]);
            code.extend([0xf3, 0x6c]);
        }
        // rep outsb
        _ => {
            load(code, ESI, DATA + random.below(DATA_SIZE - 256));
            load(code, ECX, random.below(60));
            load(code, EDX, [0xe9, 0xea][random.below(2) as usize]);
            code.extend([0xf3, 0x6e]);
        }
    }
}
