//! The ports. Every transfer is one byte wide; `insb`/`outsb` with or without `rep`, and `in`/`out` of a
//! byte, are the same bus cycle (SDM volume 1, chapter 20).
//!
//! What is longer than a byte is read byte by byte, in as many transfers as the guest likes. After its last byte
//! the next one begins, with what is true then.

/// Which way a byte goes, seen from the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// `in`, `insb`: from the host to the guest.
    In,
    /// `out`, `outsb`: from the guest to the host.
    Out,
}

impl Direction {
    /// Both.
    pub const ALL: [Self; 2] = [Self::In, Self::Out];

    /// How a person is told of it: the instruction's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }
}

/// A port of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Port {
    /// In: the next byte of standard input, waiting for it; reading past the end of input ends the run
    /// with status 0. Out: a byte to standard output. The number is that of Bochs' and QEMU's debug console.
    Console = 0xe9,
    /// Out: a byte to standard error.
    Diagnostics = 0xea,
    /// In: how many bytes of input can be read now without waiting, as a little-endian u32 in four
    /// reads, waiting until there is at least one; 0 at the end of input.
    InputReady = 0xeb,
    /// In: what lies where in RAM, a [`Layout`](crate::memory::Layout).
    Layout = 0xec,
    /// In: the arguments of the run: how many bytes there are, as a little-endian u32, and those bytes; each
    /// argument ends with a zero byte.
    Arguments = 0xed,
    /// In: the time, a [`Clock`](crate::Clock), as it is when the first of its bytes is read.
    Clock = 0xee,
    /// In: random bytes, of the quality that keys are made of.
    Random = 0xef,
    /// Out: ends the run with this byte as its status. The number is that of QEMU's isa-debug-exit.
    Exit = 0xf4,
    /// In: which test to run, a [`test::Order`](crate::test::Order). Out: its completion record.
    Test = 0xf5,
}

impl Port {
    /// Every port there is, by number.
    pub const ALL: [Port; 9] = [
        Port::Console,
        Port::Diagnostics,
        Port::InputReady,
        Port::Layout,
        Port::Arguments,
        Port::Clock,
        Port::Random,
        Port::Exit,
        Port::Test,
    ];

    /// The port's number on the bus.
    #[inline]
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// Its place in [`Port::ALL`].
    pub fn index(self) -> usize {
        Port::ALL.into_iter().position(|port| port == self).expect("all ports are there")
    }

    /// The port with this number.
    pub fn from_number(number: u16) -> Option<Port> {
        Port::ALL.into_iter().find(|port| port.number() == number)
    }

    /// What people call it.
    pub const fn name(self) -> &'static str {
        match self {
            Port::Console => "console",
            Port::Diagnostics => "diagnostics",
            Port::InputReady => "input ready",
            Port::Layout => "layout",
            Port::Arguments => "arguments",
            Port::Clock => "clock",
            Port::Random => "random",
            Port::Exit => "exit",
            Port::Test => "test",
        }
    }

    /// Whether a byte can go through it in this direction.
    pub const fn allows(self, direction: Direction) -> bool {
        match self {
            Port::Console | Port::Test => true,
            Port::Diagnostics | Port::Exit => matches!(direction, Direction::Out),
            Port::InputReady | Port::Layout | Port::Arguments | Port::Clock | Port::Random => {
                matches!(direction, Direction::In)
            }
        }
    }
}
