//! Tests in the guest: how the host finds them in an ELF file, has one run, and knows that it is through.
//!
//! Each test is a [`Record`] in the section [`SECTION`] of the ELF file, which is not loaded. The host puts the
//! program into a fresh machine, and tells it at [`Port::Test`](crate::Port::Test) which function to call. A test
//! has passed only when its [`Order::token`] has come back at that port, as four bytes, and the run has then ended
//! with status 0.

/// The section of the ELF file that holds the records, one behind the other.
pub const SECTION: &str = ".flatland.tests";

/// How long a test may take where it does not say, in seconds.
pub const DEFAULT_TIME_LIMIT: u32 = 10;

/// A test, as it stands in the ELF file: words of 32 bits, little-endian. `P` is a pointer to bytes and `F` one to
/// the function, as the target has them; in the file, both are addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Record<P, F> {
    /// [`Record::MAGIC`]: no other version of this form begins with it.
    pub magic: u32,
    /// Calls the test. It returns when the test has passed.
    pub function: F,
    /// The test's path, as in `answer::tests::the_answer`.
    pub name: Text<P>,
    /// The file it stands in.
    pub file: Text<P>,
    /// The line.
    pub line: u32,
    /// Of [`flag`].
    pub flags: u32,
    /// Why it is ignored; empty if it does not say.
    pub ignore_reason: Text<P>,
    /// What the message of the panic must contain; empty if any will do.
    pub expected_panic: Text<P>,
    /// How long it may take, in seconds.
    pub time_limit: u32,
}

/// A text in the program's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Text<P> {
    /// Its first byte.
    pub start: P,
    /// How many bytes of UTF-8.
    pub len: u32,
}

impl<P, F> Record<P, F> {
    /// The first word of a record.
    pub const MAGIC: u32 = u32::from_le_bytes(*b"flt1");
    /// How many words a record has, where pointers are words.
    pub const WORDS: usize = 13;
}

impl Record<u32, u32> {
    /// A record of these words; `None` if it is none.
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
        })
    }
}

const _: () = assert!(size_of::<Record<u32, u32>>() == Record::<u32, u32>::WORDS * 4);

/// The bits of [`Record::flags`].
pub mod flag {
    /// It passes by panicking.
    pub const SHOULD_PANIC: u32 = 1 << 0;
    /// It runs only when asked for.
    pub const IGNORE: u32 = 1 << 1;
}

/// What the program is asked to do at [`Port::Test`](crate::Port::Test).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// [`Record::function`] of the test; 0 where the run is no test.
    pub function: u32,
    /// To be sent back at the same port, as a little-endian u32, when the test is through.
    pub token: u32,
}

impl Order {
    /// Bytes on the bus.
    pub const SIZE: usize = 8;

    /// As it goes over the bus: both, little-endian.
    pub fn to_bytes(self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[..4].copy_from_slice(&self.function.to_le_bytes());
        bytes[4..].copy_from_slice(&self.token.to_le_bytes());
        bytes
    }

    /// The other way.
    pub fn from_bytes(bytes: [u8; Self::SIZE]) -> Self {
        let [f0, f1, f2, f3, t0, t1, t2, t3] = bytes;
        Self { function: u32::from_le_bytes([f0, f1, f2, f3]), token: u32::from_le_bytes([t0, t1, t2, t3]) }
    }
}
