//! A few lines of source.

use std::fs::File;
use std::io::Read;

use flatland_program::{Function, Source};

/// A line of source, with those before it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snippet {
    /// Where it is.
    pub source: Source,
    /// Whether it is a call on the way to where the guest is, and not that itself.
    pub is_called: bool,
    /// The lines, the last of which it is.
    pub lines: Vec<String>,
}

impl Snippet {
    /// How many lines are shown.
    const LINES: usize = 3;
    /// Larger files are nobody's source.
    const LARGEST: u64 = 4 << 20;
    /// What is longer is cut off.
    const WIDEST: usize = 140;

    /// Reads the source of a place in a function, if it is still there.
    pub fn read(function: &Function, is_called: bool) -> Option<Self> {
        let source = function.source.as_ref()?;
        let file = File::open(&source.path).ok()?;
        // A device or a pipe might never end.
        file.metadata().ok().filter(|metadata| metadata.is_file())?;
        let mut text = Vec::new();
        file.take(Self::LARGEST).read_to_end(&mut text).ok()?;
        Self::from_text(source, is_called, &String::from_utf8_lossy(&text))
    }

    fn from_text(source: &Source, is_called: bool, text: &str) -> Option<Self> {
        let line = source.line as usize;
        let lines: Vec<_> = text.lines().take(line).collect();
        if lines.len() < line {
            // The file is another than the one that was compiled.
            return None;
        }
        let shown = lines[line.saturating_sub(Self::LINES)..].iter();
        let lines = shown.map(|line| tame(line)).skip_while(|line| line.is_empty()).collect::<Vec<_>>();
        (!lines.is_empty()).then(|| Self { source: source.clone(), is_called, lines })
    }

    /// The number of the first line.
    pub fn first_line(&self) -> u32 {
        self.source.line + 1 - self.lines.len() as u32
    }
}

/// A line that does nothing to a terminal and is not too long.
fn tame(line: &str) -> String {
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
