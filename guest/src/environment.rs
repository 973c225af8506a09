//! What the program was called with.

use alloc::string::String;
use alloc::vec::{self, Vec};

use flatland_contract::Port;

use crate::port;

/// The arguments of the run, as in `cargo xtask run NAME -- ARGS`. There is no program's name in front: a bare machine
/// has none. What is no UTF-8 becomes U+FFFD; who wants the bytes takes [`args_bytes`].
pub fn args() -> Args {
    let text = |argument: Vec<u8>| String::from_utf8_lossy(&argument).into_owned();
    Args { rest: args_bytes().into_iter().map(text).collect::<Vec<_>>().into_iter() }
}

/// The arguments as they are.
pub fn args_bytes() -> Vec<Vec<u8>> {
    let len = u32::from_le_bytes(port::read_array(Port::Arguments)) as usize;
    let mut bytes = alloc::vec![0; len];
    port::read(Port::Arguments, &mut bytes);
    bytes.split_inclusive(|&byte| byte == 0).map(|argument| argument[..argument.len() - 1].into()).collect()
}

/// The arguments, one after the other: see [`args`].
#[derive(Clone, Debug)]
pub struct Args {
    rest: vec::IntoIter<String>,
}

impl Iterator for Args {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        self.rest.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.rest.size_hint()
    }
}

impl ExactSizeIterator for Args {}

impl DoubleEndedIterator for Args {
    fn next_back(&mut self) -> Option<String> {
        self.rest.next_back()
    }
}
