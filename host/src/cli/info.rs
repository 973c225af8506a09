//! What a recording holds, in words.

use std::path::Path;

use crate::words;

use super::messages::one_line;
use super::recordings;

/// One line for each thing.
pub fn info(path: &Path) -> Result<String, String> {
    let recording = recordings::read("read", path)?;
    let program = recording.program().map_or_else(|| "not known".into(), one_line);
    let image =
        if recording.lacks_program() { "left out: a replay needs the program" } else { "in the recording" };
    let (end, instructions) = match recording.end() {
        None => ("not recorded: the run was killed, or the file was cut".into(), None),
        Some(end) => {
            let message = words::outcome(&end.outcome, &words::Names::default());
            (message.unwrap_or_else(|| format!("status {}", end.outcome.status())), end.instructions)
        }
    };
    let instructions = instructions.map_or_else(|| "not counted".into(), |count| count.to_string());
    let (engine, memory) = (one_line(recording.engine()), recording.memory());
    let digest = recording.digest();
    let (input, output) = (recording.input_len(), recording.output_len());
    let names = recordings::elf_of(recording);
    let names = names.map_or_else(|| "none".into(), |elf| one_line(&elf.to_string_lossy()));
    Ok(format!(
        "program: {program}\nimage: {image}\nnames: {names}\nengine: {engine}\nmemory: {memory}\n\
         input: {input} bytes\noutput: {output} bytes\ndigest: {digest:016x}\ninstructions: {instructions}\nend: {end}"
    ))
}
