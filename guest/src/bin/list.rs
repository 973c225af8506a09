//! A list with a mistake: a name that is too long overwrites the link behind it. Long after, the program falls over
//! that link. docs/debugging.md finds it by walking back.
//!
//! It reads names, one in a line, and prints them, the last one first.

#![no_std]
#![no_main]

use core::ptr;

use flatland_guest::prelude::*;
use flatland_guest::{entry, io};

entry!(main);

/// One of the list.
#[derive(Clone, Copy)]
#[repr(C)]
struct Node {
    /// Filled up with zeros.
    name: [u8; 8],
    next: *mut Node,
}

fn main() -> io::Result<()> {
    let mut first = ptr::null_mut();
    for line in io::stdin().lines() {
        first = push(first, line?.as_bytes());
    }
    print(first);
    Ok(())
}

/// Puts a name in front of a list.
fn push(next: *mut Node, name: &[u8]) -> *mut Node {
    let node = Box::into_raw(Box::new(Node { name: [0; 8], next }));
    // SAFETY: the node is valid, but nobody has looked whether the name fits. This is the mistake.
    unsafe { copy(name, node.cast()) };
    node
}

/// Copies as the C function `memcpy` does: whoever calls it says that there is room.
unsafe fn copy(from: &[u8], to: *mut u8) {
    for (index, byte) in from.iter().enumerate() {
        // SAFETY: the caller says so.
        unsafe { *to.wrapping_add(index) = *byte };
    }
}

fn print(mut node: *const Node) {
    while !node.is_null() {
        // SAFETY: `push` has made it. Unless the link to it was overwritten since.
        let Node { name, next } = unsafe { *node };
        let end = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
        println!("{}", String::from_utf8_lossy(&name[..end]));
        node = next;
    }
}
