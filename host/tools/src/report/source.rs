//! Source excerpts.

use std::fs::{self, File, Metadata};
use std::io::Read;
use std::path::Path;

use flatland_program::{Function, Source};

/// A source line, with the lines before it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snippet {
    /// The location of the line.
    pub source: Source,
    /// Whether the line is a call that led to the guest's location, and not the location itself.
    pub is_called: bool,
    /// The lines. The last one is the line itself.
    pub lines: Vec<String>,
}

/// The size limit of a source file, in bytes.
const LARGEST: u64 = 4 << 20;

/// A source file, if it can be read, up to a limit. Whoever made the program chose its path.
pub fn read_source(path: &Path) -> Option<String> {
    // A device or a pipe might never end, and opening a pipe waits for its writer.
    fs::metadata(path).ok().filter(Metadata::is_file)?;
    let mut text = Vec::new();
    File::open(path).ok()?.take(LARGEST).read_to_end(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

impl Snippet {
    /// The most lines that are shown.
    const LINES: usize = 3;
    /// Longer lines are cut off here, in characters.
    const WIDEST: usize = 140;

    /// Reads the source at a function's location, if it can be read.
    pub fn read(function: &Function, is_called: bool) -> Option<Self> {
        let source = function.source.as_ref()?;
        Self::from_text(source, is_called, &read_source(&source.path)?)
    }

    fn from_text(source: &Source, is_called: bool, text: &str) -> Option<Self> {
        let line = source.line as usize;
        let lines: Vec<_> = text.lines().take(line).collect();
        if lines.len() < line {
            // The file is not the one that was compiled.
            return None;
        }
        let shown = lines[line.saturating_sub(Self::LINES)..].iter();
        let lines = shown.map(|line| sanitize(line)).skip_while(|line| line.is_empty()).collect::<Vec<_>>();
        (!lines.is_empty()).then(|| Self { source: source.clone(), is_called, lines })
    }

    /// The number of the first line.
    pub fn first_line(&self) -> u32 {
        self.source.line + 1 - self.lines.len() as u32
    }
}

/// A line without control characters, cut off if it is too long.
fn sanitize(line: &str) -> String {
    let shown = |c: char| if c == '\t' || !c.is_control() { c } else { '\u{fffd}' };
    line.trim_end().chars().map(shown).take(Snippet::WIDEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snippet(line: u32, text: &str) -> Option<(u32, Vec<String>)> {
        let snippet = Snippet::from_text(&Source { line, ..Source::default() }, false, text)?;
        Some((snippet.first_line(), snippet.lines))
    }

    #[test]
    fn a_line_and_those_before_it() {
        let text = "one\n\n\tthree\nfour\x1b[2J\n";
        let lines = |lines: &[&str]| lines.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(snippet(1, text), Some((1, lines(&["one"]))));
        assert_eq!(snippet(3, text), Some((1, lines(&["one", "", "\tthree"]))));
        assert_eq!(snippet(4, text), Some((3, lines(&["\tthree", "four\u{fffd}[2J"]))));
        assert_eq!(snippet(2, "\n\n"), None);
        assert_eq!(snippet(5, text), None);
        assert_eq!(snippet(u32::MAX, text), None);
        assert_eq!(snippet(1, &"x".repeat(1000)).unwrap().1[0].len(), Snippet::WIDEST);
    }
}
