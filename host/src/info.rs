//! What a recording holds, in words.

use std::path::Path;

use flatland::words;

use crate::recordings;

/// One line for each thing.
pub fn info(path: &Path) -> Result<String, String> {
    let recording = recordings::read("read", path)?;
    let program = match (recording.program(), recording.lacks_program()) {
        (Some(path), false) => path.into(),
        (Some(path), true) => format!("{path}, which a replay needs"),
        (None, false) => "in the recording".into(),
        (None, true) => "left out, and a replay needs it".into(),
    };
    let (end, instructions) = match recording.end() {
        None => ("not recorded: the run was killed".into(), None),
        Some(end) => {
            let message = words::outcome(&end.outcome, &words::Names::default());
            (message.unwrap_or_else(|| format!("status {}", end.outcome.status())), end.instructions)
        }
    };
    let instructions = instructions.map_or_else(|| "not counted".into(), |count| count.to_string());
    Ok(format!(
        "program: {program}\nengine: {}\nmemory: {}\ninput: {} bytes\noutput: {} bytes\ninstructions: {instructions}\n\
         end: {end}",
        recording.engine(),
        recording.memory(),
        recording.input_len(),
        recording.output_len(),
    ))
}
