//! Tests in the guest: how the host finds them in an ELF file, runs one, and learns that it has passed.
//!
//! Each test is a [`Record`] in the section [`SECTION`] of the ELF file, which is not loaded. The host starts the
//! program in a fresh machine and answers at [`Port::Test`](crate::Port::Test) which function to call. A test has
//! passed only if the program has sent the [`Order::token`] to that port and the run has then ended with status 0.

/// The section of the ELF file with the records, one after the other.
pub const SECTION: &str = ".flatland.tests";

/// The default time limit of a test, in seconds.
pub const DEFAULT_TIME_LIMIT: u32 = 10;

/// A test in the ELF file: words of 32 bits, little-endian. `P` is a pointer to bytes and `F` a pointer to a function;
/// both are addresses in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Record<P, F> {
    /// [`Record::MAGIC`]. Another version of this format has another one.
    pub magic: u32,
    /// The function that runs the test. It returns if the test has passed.
    pub function: F,
    /// The test's path, as in `answer::tests::the_answer`.
    pub name: Text<P>,
    /// The source file.
    pub file: Text<P>,
    /// The line of the source file.
    pub line: u32,
    /// The bits of [`flag`].
    pub flags: u32,
    /// Why the test is ignored; may be empty.
    pub ignore_reason: Text<P>,
    /// What the panic's message must contain; empty if any message will do.
    pub expected_panic: Text<P>,
    /// The time limit in seconds.
    pub time_limit: u32,
    /// The RAM of the test's machine in bytes; 0 if any will do.
    pub memory: u32,
    /// How much of it is the stack's; 0 if any will do.
    pub stack: u32,
}

/// A text in the program's memory, as UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Text<P> {
    /// The address of the first byte.
    pub start: P,
    /// The length in bytes.
    pub len: u32,
}

impl<P, F> Record<P, F> {
    /// The first word of a record.
    pub const MAGIC: u32 = u32::from_le_bytes(*b"flt2");
    /// The number of 32-bit words in a record.
    pub const WORDS: usize = 15;
}

impl Record<u32, u32> {
    /// The record made of these words; `None` if the magic is wrong.
    pub fn from_words(words: [u32; Self::WORDS]) -> Option<Self> {
        let [
            magic,
            function,
            name,
            name_len,
            file,
            file_len,
            line,
            flags,
            reason,
            reason_len,
            panic,
            panic_len,
            limit,
            memory,
            stack,
        ] = words;
        let text = |start, len| Text { start, len };
        (magic == Self::MAGIC).then_some(Self {
            magic,
            function,
            name: text(name, name_len),
            file: text(file, file_len),
            line,
            flags,
            ignore_reason: text(reason, reason_len),
            expected_panic: text(panic, panic_len),
            time_limit: limit,
            memory,
            stack,
        })
    }
}

const _: () = assert!(size_of::<Record<u32, u32>>() == Record::<u32, u32>::WORDS * 4);

/// The bits of [`Record::flags`].
pub mod flag {
    /// The test passes if it panics.
    pub const SHOULD_PANIC: u32 = 1 << 0;
    /// The test runs only on request.
    pub const IGNORE: u32 = 1 << 1;
}

/// What the program is asked to do at [`Port::Test`](crate::Port::Test).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// The test's [`Record::function`]; 0 if the run is no test.
    pub function: u32,
    /// The number that the guest sends to the same port, as a little-endian u32, when the test has passed.
    pub token: u32,
}

impl Order {
    /// The size in bytes.
    pub const SIZE: usize = 8;

    /// The fields in order, little-endian.
    pub fn to_bytes(self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[..4].copy_from_slice(&self.function.to_le_bytes());
        bytes[4..].copy_from_slice(&self.token.to_le_bytes());
        bytes
    }

    /// The inverse of [`Self::to_bytes`].
    pub fn from_bytes(bytes: [u8; Self::SIZE]) -> Self {
        let [f0, f1, f2, f3, t0, t1, t2, t3] = bytes;
        Self { function: u32::from_le_bytes([f0, f1, f2, f3]), token: u32::from_le_bytes([t0, t1, t2, t3]) }
    }
}
