//! The contract's devices, one for each [`Port`](flatland_contract::Port).

mod arguments;
mod clock;
mod console;
mod diagnostics;
mod exit;
mod input_ready;
mod layout;
mod random;
mod span;
mod stand_in;
mod test;
mod timer;

pub use arguments::Arguments;
pub use clock::Clock;
pub use console::Console;
pub use diagnostics::Diagnostics;
pub use exit::Exit;
pub use input_ready::InputReady;
pub use layout::Layout;
pub use random::Random;
pub use span::Span;
pub(crate) use stand_in::StandIn;
pub use test::Test;
pub use timer::Timer;
