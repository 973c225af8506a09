//! The entries of a trace, and the forms that they are written in.

use std::path::Path;

use flatland_contract::Direction;
use flatland_program::Place;
use jzon::{JsonValue, object};

/// How a trace is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Form {
    /// Lines for people.
    #[default]
    Lines,
    /// A JSON object in each line, for programs.
    JsonLines,
    /// Trace events for a timeline on which a microsecond is an instruction: for ui.perfetto.dev and chrome://tracing.
    /// ("Trace Event Format", Google, 2016.)
    TraceEvents,
}

impl Form {
    /// The form of a file with this name, by its extension.
    pub fn of(path: &Path) -> Self {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("jsonl") => Self::JsonLines,
            Some("json") => Self::TraceEvents,
            _ => Self::Lines,
        }
    }
}

/// What an entry of a trace is about.
pub enum What<'a> {
    /// A function is entered, at this address.
    Enter { name: &'a str, address: u32 },
    /// A function is left.
    Leave { name: &'a str },
    /// A span of the guest's begins.
    SpanBegin { name: &'a str, place: &'a Place },
    /// A span ends.
    SpanEnd { name: &'a str },
    /// A transfer was made.
    Transfer {
        direction: Direction,
        port: u16,
        name: &'a str,
        data: &'a [u8],
        address: u32,
        place: &'a Place,
    },
    /// An instruction was executed.
    Instruction { address: u32, text: &'a str, place: Option<&'a Place> },
    /// The run ends.
    End,
    /// A remark, of no interest to a program.
    Remark,
}

/// A row of bars and marks of a timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Track {
    /// All but spans.
    Run,
    /// The guest's spans, which need not end where calls do.
    Spans,
}

impl Track {
    pub const ALL: [Self; 2] = [Self::Run, Self::Spans];

    fn number(self) -> u32 {
        self as u32 + 1
    }

    /// The event that gives it its name.
    pub fn naming_event(self) -> JsonValue {
        let name = match self {
            Self::Run => "calls and transfers",
            Self::Spans => "spans",
        };
        object! { "name": "thread_name", "ph": "M", "pid": 1, "tid": self.number(), "args": { "name": name } }
    }

    /// What ends the innermost bar.
    pub fn end(self) -> What<'static> {
        match self {
            Self::Run => What::Leave { name: "" },
            Self::Spans => What::SpanEnd { name: "" },
        }
    }
}

impl What<'_> {
    pub fn track(&self) -> Track {
        match self {
            Self::SpanBegin { .. } | Self::SpanEnd { .. } => Track::Spans,
            _ => Track::Run,
        }
    }
}

/// An entry as an object for programs. `line` is the same for people. None for a remark.
pub fn json(what: &What, line: &str, instructions: Option<u64>) -> Option<JsonValue> {
    let mut value = match what {
        What::Enter { name, address } => object! { "kind": "enter", "function": *name, "address": *address },
        What::Leave { name } => object! { "kind": "leave", "function": *name },
        What::SpanBegin { name, place } => object! {
            "kind": "span-begin", "name": *name, "symbol": place.function.as_deref(), "file": file(place),
            "line": self::line(place),
        },
        What::SpanEnd { name } => object! { "kind": "span-end", "name": *name },
        What::Transfer { direction, port, name, data, address, place } => object! {
            "kind": direction.name(), "port": *port, "name": *name, "data": *data, "address": *address,
            "symbol": place.function.as_deref(), "file": file(place), "line": self::line(place),
        },
        What::Instruction { address, text, place } => object! {
            "kind": "instruction", "address": *address, "text": *text,
            "symbol": place.and_then(|place| place.function.as_deref()),
            "file": place.and_then(file), "line": place.and_then(self::line),
        },
        What::End => object! { "kind": "end", "message": line.strip_prefix("end: ").unwrap_or(line) },
        What::Remark => return None,
    };
    value["instructions"] = instructions.into();
    Some(value)
}

/// An entry as a trace event. None for a remark.
pub fn event(what: &What, line: &str, instructions: u64) -> Option<JsonValue> {
    let (phase, name, arguments) = match what {
        What::Enter { name, address } => {
            ("B", (*name).to_owned(), object! { "address": format!("{address:#010x}") })
        }
        What::Leave { name } => ("E", (*name).to_owned(), JsonValue::new_object()),
        What::SpanBegin { name, place } => {
            ("B", (*name).to_owned(), object! { "place": place.to_string().trim_start() })
        }
        What::SpanEnd { name } => ("E", (*name).to_owned(), JsonValue::new_object()),
        What::Transfer { direction, name, data, place, .. } => {
            let data = data.escape_ascii().to_string();
            let place = place.to_string();
            (
                "i",
                format!("{} {name}", direction.name()),
                object! { "data": data, "place": place.trim_start() },
            )
        }
        What::Instruction { address, text, .. } => {
            ("i", (*text).to_owned(), object! { "address": format!("{address:#010x}") })
        }
        What::End => ("i", line.to_owned(), JsonValue::new_object()),
        What::Remark => return None,
    };
    let mut event = object! {
        "name": name, "ph": phase, "ts": instructions, "pid": 1, "tid": what.track().number(), "args": arguments,
    };
    if phase == "i" {
        // A mark as high as the thread.
        event["s"] = "t".into();
    }
    Some(event)
}

fn file(place: &Place) -> Option<&str> {
    Some(place.line.as_ref()?.0.as_str())
}

fn line(place: &Place) -> Option<u32> {
    Some(place.line.as_ref()?.1)
}
