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

/// `len` bytes of input. No two adjacent bytes are equal.
pub fn input(len: usize) -> Vec<u8> {
    (0..len).map(|index| (index ^ (index >> 8)) as u8).collect()
}

/// The answers of [`CONVERSATION`] to this input.
pub fn answers(input: &[u8]) -> Vec<u8> {
    input.iter().map(|byte| byte.wrapping_add(1)).collect()
}

#[cfg(test)]
mod tests {
    use flatland::{EngineChoice, Machine, Outcome, Program};

    use super::*;

    /// Runs an image. Returns its output and outcome.
    fn run(code: &[u8], input: &[u8]) -> (Vec<u8>, Outcome) {
        let program = Program::from_bytes(code.to_vec()).unwrap();
        let mut machine = Machine::builder()
            .engine(EngineChoice::Soft)
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
        assert_eq!(run(COPY, &bytes), (bytes, Outcome::EndOfInput));
    }
}
