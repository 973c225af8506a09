//! The `monitor` commands about the past.

use flatland_machine::{Machine, RunError};
use flatland_x86::{Location, WatchKind, Watchpoint};

use crate::timeline::{Found, Register, Target, Timeline};

/// The commands.
pub const NAMES: [&str; 4] = ["when", "goto", "last-write", "who"];

/// The answer of all where there is no past.
pub const NONE: &str = "only the soft engine has a past: start the run with --engine soft\n";

/// gdb does not know that the guest is elsewhere.
const FLUSH: &str = "now `maintenance flush register-cache`, so that gdb reads the registers again\n";

/// The text that a command prints.
pub fn answer(
    machine: &mut Machine,
    timeline: &mut Timeline,
    name: &str,
    words: &[&str],
) -> Result<String, RunError> {
    Ok(match (name, words) {
        ("when", []) => when(machine, timeline),
        ("goto", [place, rest @ ..]) if rest.is_empty() || *rest == ["quietly"] => {
            let count = match *place {
                "start" => Some(timeline.beginning()),
                "end" => Some(u64::MAX),
                place => number(place),
            };
            let Some(count) = count else { return Ok(usage("goto", "N|start|end")) };
            timeline.go_to(machine, count)?;
            // A script that says this flushes them itself.
            when(machine, timeline) + if rest.is_empty() { FLUSH } else { "" }
        }
        ("last-write", [address, rest @ ..]) if rest.len() < 2 => {
            let len = rest.first().map_or(Some(1), |len| number(len));
            let range = number(address).zip(len).map(|(address, len)| (address.try_into(), len.try_into()));
            let Some((Ok(address), Ok(len))) = range else {
                return Ok(usage("last-write", "ADDRESS [BYTES]"));
            };
            let watchpoints = vec![Watchpoint { address, len, kind: WatchKind::Write }];
            let target = Target::Stops { breakpoints: Vec::new(), watchpoints };
            let found = timeline.find(machine, target)?;
            found_in_words(machine, timeline, found, "wrote there")
        }
        ("who", [register]) => {
            let Some(register) = Register::by_name(register) else {
                let names = Register::ALL.map(Register::name).join("|");
                return Ok(usage("who", &names));
            };
            let found = timeline.find(machine, Target::Register(register))?;
            found_in_words(machine, timeline, found, &format!("wrote {}", register.name()))
        }
        ("when", _) => usage("when", ""),
        ("goto", _) => usage("goto", "N|start|end"),
        ("last-write", _) => usage("last-write", "ADDRESS [BYTES]"),
        _ => usage("who", "REGISTER"),
    })
}

fn usage(name: &str, rest: &str) -> String {
    format!("say it so: `monitor {}`\n", format!("{name} {rest}").trim())
}

/// A number as gdb writes it: decimal, or hexadecimal after `0x`.
fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

fn when(machine: &Machine, timeline: &Timeline) -> String {
    let now = machine.instructions().unwrap_or_default();
    let (beginning, end) = (timeline.beginning(), timeline.end(machine));
    let place = if timeline.is_in_the_past() { "the past" } else { "the present" };
    format!("after {now} instructions, in {place}: from {beginning} to {end}\n")
}

fn found_in_words(machine: &Machine, timeline: &Timeline, found: Option<Found>, what: &str) -> String {
    let Some(found) = found else {
        let beginning = timeline.beginning();
        return format!("nothing {what} in this past: it begins after {beginning} instructions\n");
    };
    let address = match found.instruction {
        Location::At(address) | Location::EndsAt(address) => address,
        Location::Unknown => return format!("an instruction {what}\n"),
    };
    // The count is behind it.
    let before = found.count().saturating_sub(1);
    let ago = machine.instructions().unwrap_or_default().saturating_sub(before);
    format!(
        "the instruction at {address:#x} {what}, {ago} instructions ago: `info symbol {address:#x}` names it, \
         `monitor goto {before}` goes there\n"
    )
}
