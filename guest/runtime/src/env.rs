//! The program's name and arguments. A bare machine has no environment variables and no folders.

use alloc::string::String;
use alloc::vec::{self, Vec};

use flatland_contract::Port;

use crate::port;

unsafe extern "Rust" {
    /// Defined by [`entry!`](crate::entry), or else by the linker script.
    #[link_name = "__flatland_name"]
    safe static NAME: &'static str;
}

/// The name of a program that does not have one from `entry!`: a file of tests.
#[unsafe(no_mangle)]
static __flatland_default_name: &str = "test";

/// The program's name and its arguments, as in `cargo xtask run NAME -- ARGUMENTS`.
///
/// # Panics
///
/// If an argument is not UTF-8, as with std: see [`args_bytes`].
pub fn args() -> Args {
    let text = |argument| String::from_utf8(argument).expect("an argument is no UTF-8");
    let arguments: Vec<_> = args_bytes().into_iter().map(text).collect();
    Args { rest: arguments.into_iter() }
}

/// The program's name and its arguments as bytes.
pub fn args_bytes() -> Vec<Vec<u8>> {
    let len = u32::from_le_bytes(port::read_array(Port::Arguments)) as usize;
    let mut bytes = alloc::vec![0; len];
    port::read(Port::Arguments, &mut bytes);
    let arguments = bytes.split_inclusive(|&byte| byte == 0).map(|argument| &argument[..argument.len() - 1]);
    [NAME.as_bytes()].into_iter().chain(arguments).map(Vec::from).collect()
}

/// An iterator over the arguments: see [`args`].
#[derive(Debug)]
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
