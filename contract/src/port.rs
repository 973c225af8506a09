//! The I/O ports. Every transfer is one byte wide: `in` and `out` of a byte, `insb` and `outsb`, and each iteration of
//! `rep insb` and `rep outsb` (SDM volume 1, chapter 20).
//!
//! A value of several bytes is read byte by byte, in any number of transfers. The byte after the last one is the first
//! of a new value.

/// The direction of a transfer, as the guest sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// `in`, `insb`: from the host to the guest.
    In,
    /// `out`, `outsb`: from the guest to the host.
    Out,
}

impl Direction {
    /// Both directions.
    pub const ALL: [Self; 2] = [Self::In, Self::Out];

    /// The instruction's name, for messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }
}

/// An I/O port of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Port {
    /// In: waits for the next byte of standard input. Reading past the end of input ends the run with status 0. Out:
    /// sends a byte to standard output. The number is that of Bochs' and QEMU's debug console.
    Console = 0xe9,
    /// Out: sends a byte to standard error.
    Diagnostics = 0xea,
    /// In: waits for input, and answers how many bytes can be read without waiting again, as a little-endian u32; 0 at
    /// the end of input.
    InputReady = 0xeb,
    /// In: the memory layout, a [`Layout`](crate::memory::Layout).
    Layout = 0xec,
    /// In: the arguments of the run: their size in bytes as a little-endian u32, and then these bytes. Each argument
    /// ends with a zero byte.
    Arguments = 0xed,
    /// In: the time, a [`Clock`](crate::Clock), taken when its first byte is read.
    Clock = 0xee,
    /// In: random bytes, good enough for cryptographic keys.
    Random = 0xef,
    /// Out: ends the run with this byte as its status. The number is that of QEMU's isa-debug-exit.
    Exit = 0xf4,
    /// In: which test to run, a [`test::Order`](crate::test::Order). Out: the test's token, when it has passed.
    Test = 0xf5,
    /// In: 1 if somebody listens to [spans](crate::span), else 0. Out: the bytes of a name and then a zero byte begin a
    /// span; a zero byte alone ends the innermost one.
    Span = 0xf6,
    /// Out: the period of the [timer](crate::timer), in ticks, as a little-endian u32; 0 stops it.
    Timer = 0xf7,
}

impl Port {
    /// All ports, sorted by number.
    pub const ALL: [Port; 11] = [
        Port::Console,
        Port::Diagnostics,
        Port::InputReady,
        Port::Layout,
        Port::Arguments,
        Port::Clock,
        Port::Random,
        Port::Exit,
        Port::Test,
        Port::Span,
        Port::Timer,
    ];

    /// The port's number.
    #[inline]
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// The port's index in [`Port::ALL`].
    pub fn index(self) -> usize {
        Port::ALL.into_iter().position(|port| port == self).expect("all ports are there")
    }

    /// The port with this number.
    pub fn from_number(number: u16) -> Option<Port> {
        Port::ALL.into_iter().find(|port| port.number() == number)
    }

    /// The port's name in messages and traces.
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
            Port::Span => "span",
            Port::Timer => "timer",
        }
    }

    /// Whether the port takes transfers in this direction.
    pub const fn allows(self, direction: Direction) -> bool {
        match self {
            Port::Console | Port::Test | Port::Span => true,
            Port::Diagnostics | Port::Exit | Port::Timer => matches!(direction, Direction::Out),
            Port::InputReady | Port::Layout | Port::Arguments | Port::Clock | Port::Random => {
                matches!(direction, Direction::In)
            }
        }
    }
}
