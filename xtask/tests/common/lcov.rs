//! Reads LCOV: geninfo(1), section "Tracefile format".

use std::collections::BTreeMap;

/// How often each line was executed, by file and line.
pub type Lines = BTreeMap<(String, u32), u64>;

pub fn lines(text: &str) -> Lines {
    let mut lines = Lines::new();
    let mut file = "";
    for record in text.lines() {
        if let Some(name) = record.strip_prefix("SF:") {
            file = name;
        } else if let Some(data) = record.strip_prefix("DA:") {
            let mut fields = data.split(',');
            let mut number = || fields.next()?.parse::<u64>().ok();
            let (line, count) = number().zip(number()).expect("a line and its count");
            *lines.entry((file.into(), line.try_into().expect("a line's number"))).or_default() += count;
        }
    }
    lines
}
