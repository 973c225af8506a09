//! The ports. Every transfer is one byte wide; `insb`/`outsb` with or without `rep`, and `in`/`out` of a
//! byte, are the same bus cycle (SDM volume 1, chapter 20).

/// Which way a byte goes, seen from the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// `in`, `insb`: from the host to the guest.
    In,
    /// `out`, `outsb`: from the guest to the host.
    Out,
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
    /// Out: ends the run with this byte as its status. The number is that of QEMU's isa-debug-exit.
    Exit = 0xf4,
}

impl Port {
    /// Every port there is, by number.
    pub const ALL: [Port; 4] = [Port::Console, Port::Diagnostics, Port::InputReady, Port::Exit];

    /// The port's number on the bus.
    pub const fn number(self) -> u16 {
        self as u16
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
            Port::Exit => "exit",
        }
    }

    /// Whether a byte can go through it in this direction.
    pub const fn allows(self, direction: Direction) -> bool {
        match (self, direction) {
            (Port::Console, _) => true,
            (Port::InputReady, Direction::In) => true,
            (Port::Diagnostics | Port::Exit, Direction::Out) => true,
            (Port::InputReady, Direction::Out) => false,
            (Port::Diagnostics | Port::Exit, Direction::In) => false,
        }
    }
}
