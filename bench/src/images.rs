//! Flat images of a few bytes, for machines that know one port.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Result;

/// `hlt`
const HALT: &[u8] = &[0xf4];

/// ```text
/// mov al, 'A'
/// out 0xe9, al
/// in al, 0xe9
/// hlt
/// ```
const ASK: &[u8] = &[0xb0, b'A', 0xe6, 0xe9, 0xe4, 0xe9, 0xf4];

/// The seed's conversation: each byte is answered with the next one. The bytes lie one behind the other in RAM.
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
const CONVERSATION: &[u8] = &[
    0xba, 0xe9, 0, 0, 0, 0xbf, 0x00, 0x10, 0, 0, 0x89, 0xfe, // before
    0x6c, 0xfe, 0x06, 0x6e, 0xeb, 0xfa,
];

/// Copies 64 KiB at once, as often as there are so many.
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
const COPY: &[u8] = &[
    0xba, 0xe9, 0, 0, 0, // before
    0xbf, 0, 0, 0x01, 0, 0x89, 0xf9, 0xf3, 0x6c, // in
    0xbe, 0, 0, 0x01, 0, 0x89, 0xf1, 0xf3, 0x6e, 0xeb, 0xec, // out
];

/// The files they lie in.
pub struct Images {
    pub halt: PathBuf,
    pub ask: PathBuf,
    pub conversation: PathBuf,
    pub copy: PathBuf,
}

impl Images {
    pub fn write(folder: &Path) -> Result<Self> {
        let write = |name: &str, code: &[u8]| -> Result<PathBuf> {
            let path = folder.join(name);
            fs::write(&path, code)?;
            Ok(path)
        };
        Ok(Self {
            halt: write("halt.bin", HALT)?,
            ask: write("ask.bin", ASK)?,
            conversation: write("conversation.bin", CONVERSATION)?,
            copy: write("copy.bin", COPY)?,
        })
    }
}

/// One `hlt`, for machines in this process.
pub fn halt() -> Vec<u8> {
    HALT.to_vec()
}

/// So many bytes of input, no two neighbouring ones the same.
pub fn input(len: usize) -> Vec<u8> {
    (0..len).map(|index| (index ^ (index >> 8)) as u8).collect()
}

#[cfg(test)]
mod tests {
    use flatland::EngineChoice;
    use flatland::x86::Stops;
    use flatland::{Image, Input, Machine, MemorySize, Outcome, Streams};

    use super::*;

    /// What an image sends, and how it ends.
    fn run(code: &[u8], input: Vec<u8>) -> (Vec<u8>, Outcome) {
        let engine = EngineChoice::Soft.open(MemorySize::default(), &Stops::default()).unwrap().0;
        let streams = Streams { input: Input::from_bytes(input), ..Streams::none() };
        let mut machine = Machine::new(engine, &Image::from_bytes(code.to_vec()).unwrap(), streams).unwrap();
        let outcome = machine.run().unwrap();
        (machine.streams().output.bytes().to_vec(), outcome)
    }

    #[test]
    fn they_do_what_they_say() {
        assert_eq!(run(HALT, vec![]), (vec![], Outcome::Halted));
        assert_eq!(run(ASK, vec![]), (b"A".to_vec(), Outcome::EndOfInput));
        assert_eq!(run(CONVERSATION, b"HAL".to_vec()), (b"IBM".to_vec(), Outcome::EndOfInput));
        let bytes = input(128 << 10);
        assert_eq!(run(COPY, bytes.clone()), (bytes, Outcome::EndOfInput));
    }
}
