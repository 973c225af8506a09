//! Flat images of a few bytes that use only the console port.

/// `hlt`
pub const HALT: &[u8] = &[0xf4];

/// ```text
/// mov al, 'A'
/// out 0xe9, al
/// in al, 0xe9
/// hlt
/// ```
pub const ASK: &[u8] = &[0xb0, b'A', 0xe6, 0xe9, 0xe4, 0xe9, 0xf4];

/// The conversation of the project's first guest: answers each byte with the next one. The bytes are stored one after
/// another in RAM.
///
/// ```text
///     mov edx, 0xe9
///     mov edi, 0x1000
///     mov esi, edi
/// 12: insb
///     inc byte [esi]
///     outsb
///     jmp 12
/// ```
pub const CONVERSATION: &[u8] = &[
    0xba, 0xe9, 0, 0, 0, 0xbf, 0x00, 0x10, 0, 0, 0x89, 0xfe, // before
    0x6c, 0xfe, 0x06, 0x6e, 0xeb, 0xfa,
];

/// Copies blocks of 64 KiB from input to output until the input ends.
///
/// ```text
///    mov edx, 0xe9
/// 5: mov edi, 0x10000
///    mov ecx, edi
///    rep insb
///    mov esi, 0x10000
///    mov ecx, esi
///    rep outsb
///    jmp 5
/// ```
pub const COPY: &[u8] = &[
    0xba, 0xe9, 0, 0, 0, // before
    0xbf, 0, 0, 0x01, 0, 0x89, 0xf9, 0xf3, 0x6c, // in
    0xbe, 0, 0, 0x01, 0, 0x89, 0xf1, 0xf3, 0x6e, 0xeb, 0xec, // out
];

/// Copies byte by byte, and asks before each byte whether there is input.
///
/// ```text
/// 0: in al, 0xeb
///    in al, 0xe9
///    out 0xe9, al
///    jmp 0
/// ```
pub const POLLING: &[u8] = &[0xe4, 0xeb, 0xe4, 0xe9, 0xe6, 0xe9, 0xeb, 0xf8];

/// Adds 1 to a byte of input and sends it.
///
/// ```text
/// in al, 0xe9
/// inc al
/// out 0xe9, al
/// hlt
/// ```
pub const ANSWER: &[u8] = &[0xe4, 0xe9, 0xfe, 0xc0, 0xe6, 0xe9, 0xf4];

/// Computes for a number of iterations, four instructions each, without an exit. The number is a little-endian u32 in
/// the input. Sends the highest byte of [`computed`].
///
/// ```text
///     mov edx, 0xe9
///     mov edi, 0x1000
///     mov ecx, 4
///     rep insb
///     mov ecx, [0x1000]
///     xor eax, eax
/// 19: imul eax, eax, 0x19660d
///     add eax, 0x3c6ef35f
///     dec ecx
///     jnz 19
///     shr eax, 24
///     out 0xe9, al
///     hlt
/// ```
pub const COMPUTE: &[u8] = &[
    0xba, 0xe9, 0, 0, 0, 0xbf, 0x00, 0x10, 0, 0, 0xb9, 4, 0, 0, 0, 0xf3, 0x6c, // the number
    0x8b, 0x0d, 0x00, 0x10, 0, 0, 0x31, 0xc0, // before
    0x69, 0xc0, 0x0d, 0x66, 0x19, 0x00, 0x05, 0x5f, 0xf3, 0x6e, 0x3c, 0x49, 0x75,
    0xf2, // the iterations
    0xc1, 0xe8, 24, 0xe6, 0xe9, 0xf4,
];

/// The input of [`COMPUTE`].
pub fn compute_input(iterations: u32) -> Vec<u8> {
    iterations.to_le_bytes().into()
}

/// The answer of [`COMPUTE`].
pub fn compute_answer(iterations: u32) -> Vec<u8> {
    vec![(computed(iterations) >> 24) as u8]
}

/// The result of this many iterations: those of a linear congruential generator.
fn computed(iterations: u32) -> u32 {
    iterate(0, iterations)
}

fn iterate(state: u32, iterations: u32) -> u32 {
    (0..iterations).fold(state, |state, _| state.wrapping_mul(0x19_660d).wrapping_add(0x3c6e_f35f))
}

/// Computes as [`COMPUTE`] does and then converses as [`CONVERSATION`] does, in turns. The input begins with three
/// little-endian u32: iterations, bytes of conversation, and rounds. What is added to each byte is bits 8 to 15 of what
/// was computed so far.
///
/// ```text
///     mov edx, 0xe9
///     mov edi, 0x1000
///     mov ecx, 12
///     rep insb
///     mov ebp, [0x1008]
///     xor eax, eax
/// 19: mov ecx, [0x1000]
/// 1f: imul eax, eax, 0x19660d
///     add eax, 0x3c6ef35f
///     dec ecx
///     jnz 1f
///     mov ecx, [0x1004]
///     mov edi, 0x2000
///     mov esi, edi
/// 3a: insb
///     add [esi], ah
///     outsb
///     dec ecx
///     jnz 3a
///     dec ebp
///     jnz 19
///     hlt
/// ```
pub const ALTERNATE: &[u8] = &[
    0xba, 0xe9, 0, 0, 0, 0xbf, 0x00, 0x10, 0, 0, 0xb9, 12, 0, 0, 0, 0xf3, 0x6c, // the numbers
    0x8b, 0x2d, 0x08, 0x10, 0, 0, 0x31, 0xc0, // before
    0x8b, 0x0d, 0x00, 0x10, 0, 0, // the iterations
    0x69, 0xc0, 0x0d, 0x66, 0x19, 0x00, 0x05, 0x5f, 0xf3, 0x6e, 0x3c, 0x49, 0x75, 0xf2, // compute
    0x8b, 0x0d, 0x04, 0x10, 0, 0, 0xbf, 0x00, 0x20, 0, 0, 0x89, 0xfe, // the bytes
    0x6c, 0x00, 0x26, 0x6e, 0x49, 0x75, 0xf9, // converse
    0x4d, 0x75, 0xd5, 0xf4,
];

/// The input of [`ALTERNATE`].
pub fn alternate_input(iterations: u32, bytes: u32, rounds: u32) -> Vec<u8> {
    let numbers = [iterations, bytes, rounds].map(u32::to_le_bytes).concat();
    [numbers, input(bytes as usize * rounds as usize)].concat()
}

/// The answers of [`ALTERNATE`] to [`alternate_input`].
pub fn alternate_answers(iterations: u32, bytes: u32, rounds: u32) -> Vec<u8> {
    let input = input(bytes as usize * rounds as usize);
    let mut state = 0;
    let mut answers = Vec::with_capacity(input.len());
    for bytes in input.chunks(bytes as usize) {
        state = iterate(state, iterations);
        answers.extend(bytes.iter().map(|byte| byte.wrapping_add((state >> 8) as u8)));
    }
    answers
}

/// `len` bytes of input. No two adjacent bytes are equal.
pub fn input(len: usize) -> Vec<u8> {
    (0..len).map(|index| (index ^ (index >> 8)) as u8).collect()
}

/// Input for a guest that no compression makes much smaller: the highest bytes of a linear congruential generator.
pub fn random_input(len: usize) -> Vec<u8> {
    let mut state = 1;
    (0..len)
        .map(|_| {
            state = iterate(state, 1);
            (state >> 24) as u8
        })
        .collect()
}

/// The answers of [`CONVERSATION`] to this input.
pub fn answers(input: &[u8]) -> Vec<u8> {
    input.iter().map(|byte| byte.wrapping_add(1)).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use flatland::{EngineChoice, Machine, Outcome, Program};

    use super::*;

    /// Runs an image. Returns its output and outcome.
    fn run(code: &[u8], input: &[u8]) -> (Vec<u8>, Outcome) {
        let program = Program::from_bytes(code.to_vec()).unwrap();
        let mut machine = Machine::builder()
            .engine(EngineChoice::Soft)
            .time_limit(Duration::from_secs(10))
            .input(input)
            .output(Vec::new())
            .build(&program)
            .unwrap();
        let outcome = machine.run().unwrap();
        (machine.streams().output.bytes().to_vec(), outcome)
    }

    #[test]
    fn they_do_what_they_say() {
        assert_eq!(run(HALT, b""), (vec![], Outcome::Halted));
        assert_eq!(run(ASK, b""), (b"A".to_vec(), Outcome::EndOfInput));
        let bytes = input(128 << 10);
        assert_eq!(run(CONVERSATION, &bytes), (answers(&bytes), Outcome::EndOfInput));
        assert_eq!(run(COPY, &bytes), (bytes.clone(), Outcome::EndOfInput));
        assert_eq!(run(POLLING, &bytes), (bytes, Outcome::EndOfInput));
        assert_eq!(run(ANSWER, b"a"), (b"b".to_vec(), Outcome::Halted));
    }

    #[test]
    fn computations_answer_with_their_result() {
        // The first numbers of this generator (Numerical Recipes, section 7.1).
        assert_eq!([1, 2].map(computed), [0x3c6e_f35f, 0x4750_2932]);
        for iterations in [1, 2, 1000] {
            let input = compute_input(iterations);
            assert_eq!(run(COMPUTE, &input), (compute_answer(iterations), Outcome::Halted));
        }
    }

    #[test]
    fn alternations_compute_in_each_round() {
        for (iterations, bytes, rounds) in [(1, 1, 1), (7, 300, 3), (100, 10, 20)] {
            let (output, outcome) = run(ALTERNATE, &alternate_input(iterations, bytes, rounds));
            assert_eq!(outcome, Outcome::Halted);
            assert_eq!(output, alternate_answers(iterations, bytes, rounds));
            assert_eq!(output.len(), (bytes * rounds) as usize);
        }
        // A round without its computing would answer otherwise.
        let answers = alternate_answers(1, 1, 2);
        assert_eq!(answers, [0xf3, 1_u8.wrapping_add(0x29)]);
    }
}
