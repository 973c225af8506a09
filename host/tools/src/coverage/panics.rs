//! Which conditional jumps are checks that end in a panic.

use std::collections::HashSet;

use flatland_program::source_map::SourceMap;
use flatland_x86::instruction::{Read, decode};
use iced_x86::FlowControl;

/// How many instructions before the call of a panic are looked at, where only its arguments are made.
const MOST_INSTRUCTIONS: usize = 24;

/// The same where calls may format its message.
const MOST_FOR_MESSAGE: usize = 200;

/// The functions that begin a panic.
pub struct Panics {
    entries: HashSet<u32>,
}

impl Panics {
    /// Those of a program.
    pub fn new(map: &SourceMap) -> Self {
        const BEGINS: [&str; 5] = [
            "core::panicking::",
            "core::option::unwrap_failed",
            "core::option::expect_failed",
            "core::result::unwrap_failed",
            "core::slice::index::slice_",
        ];
        let begins_panic = |name: &str| {
            let name = name.trim_start_matches('<');
            BEGINS.iter().any(|begin| name.starts_with(begin))
        };
        let functions = map.instances.iter().filter(|instance| !instance.is_inlined);
        let entries = functions.filter(|instance| begins_panic(&instance.name));
        Self { entries: entries.filter_map(|instance| instance.entry).collect() }
    }

    /// Whether code leads to a panic without any choice or call: the end of a check for an overflow or an index. It is
    /// no branch of the source.
    pub fn follow(&self, address: u32, read: Read) -> bool {
        self.find(address, read, MOST_INSTRUCTIONS, false).is_some()
    }

    /// The call of the panic that code leads to without any choice. Before it, calls may make its message.
    pub fn call_behind(&self, address: u32, read: Read) -> Option<u32> {
        self.find(address, read, MOST_FOR_MESSAGE, true)
    }

    fn find(&self, address: u32, read: Read, most: usize, may_call: bool) -> Option<u32> {
        let mut at = address;
        for _ in 0..most {
            let (instruction, _) = decode(at, read)?;
            let target = instruction.near_branch32();
            match instruction.flow_control() {
                FlowControl::Next => at = instruction.next_ip32(),
                FlowControl::UnconditionalBranch | FlowControl::Call if self.entries.contains(&target) => {
                    return Some(at);
                }
                FlowControl::UnconditionalBranch => at = target,
                FlowControl::Call if may_call => at = instruction.next_ip32(),
                _ => return None,
            }
        }
        None
    }
}
