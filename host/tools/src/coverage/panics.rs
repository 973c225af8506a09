//! Which conditional jumps are checks of the compiler's.

use flatland_program::source_map::SourceMap;
use flatland_x86::instruction::{Read, decode};
use iced_x86::FlowControl;

/// How many instructions before the call of a panic are looked at: those that make its arguments.
const MOST_INSTRUCTIONS: usize = 24;

/// Whether code leads to a panic without any choice: the end of a check for an overflow or an index. It is no branch of
/// the source.
pub fn leads_to_panic(address: u32, map: &SourceMap, read: Read) -> bool {
    let mut at = address;
    for _ in 0..MOST_INSTRUCTIONS {
        let Some((instruction, _)) = decode(at, read) else { return false };
        match instruction.flow_control() {
            FlowControl::Next => at = instruction.next_ip32(),
            FlowControl::UnconditionalBranch => {
                if is_panic(instruction.near_branch32(), map) {
                    return true;
                }
                at = instruction.near_branch32();
            }
            FlowControl::Call => return is_panic(instruction.near_branch32(), map),
            _ => return false,
        }
    }
    false
}

/// Whether a function begins here that begins a panic.
fn is_panic(address: u32, map: &SourceMap) -> bool {
    let entered = |instance: &&flatland_program::source_map::Instance| {
        instance.entry == Some(address) && !instance.is_inlined
    };
    map.instances.iter().find(entered).is_some_and(|instance| {
        let name = instance.name.trim_start_matches('<');
        const BEGINS: [&str; 5] = [
            "core::panicking::",
            "core::option::unwrap_failed",
            "core::option::expect_failed",
            "core::result::unwrap_failed",
            "core::slice::index::slice_",
        ];
        BEGINS.iter().any(|begin| name.starts_with(begin))
    })
}
