//! The command that built an ELF file: a line at its end, behind all that its headers lead to. Nothing that reads ELF files
//! looks there, and a copy of the file keeps it.

const BEGIN: &[u8] = b"\nflatland: built by `";
const END: &[u8] = b"`\n";

/// The longest command, in bytes.
const MOST: usize = 100;

/// Notes the command that built this file: printable ASCII, of at most 100 bytes.
pub fn note_command(elf: &mut Vec<u8>, command: &str) {
    for part in [BEGIN, command.as_bytes(), END] {
        elf.extend_from_slice(part);
    }
}

/// The command that built this file, if [`note_command`] has noted it. A file from elsewhere may name anything.
pub fn command_of(elf: &[u8]) -> Option<&str> {
    let text = elf.strip_suffix(END)?;
    let last = &text[text.len().saturating_sub(BEGIN.len() + MOST)..];
    let at = last.windows(BEGIN.len()).rposition(|part| part == BEGIN)?;
    let command = str::from_utf8(&last[at + BEGIN.len()..]).ok()?;
    command.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()).then_some(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_last_is_found() {
        let mut elf = b"\x7fELF".to_vec();
        assert_eq!(command_of(&elf), None);
        note_command(&mut elf, "a --b");
        assert_eq!(command_of(&elf), Some("a --b"));
        note_command(&mut elf, &"x".repeat(MOST));
        assert_eq!(command_of(&elf), Some(&*"x".repeat(MOST)));
        for other in ["\u{1b}[2J", "\u{fc}", &"x".repeat(MOST + 1)] {
            note_command(&mut elf, other);
            assert_eq!(command_of(&elf), None, "{other:?}");
        }
        assert_eq!(command_of(b"`\n"), None);
    }
}
