//! The command line of `flatland page`.

use std::ffi::OsString;
use std::path::PathBuf;

const USAGE: &str = "`flatland page RECORDING [ELF] -o FILE [--no-sources]`";

/// How to make a page.
#[derive(Debug, PartialEq)]
pub struct PageOptions {
    /// The recording.
    pub recording: PathBuf,
    /// The program's ELF file, if it is given.
    pub elf: Option<PathBuf>,
    /// The file to write.
    pub to: PathBuf,
    /// Whether the program's sources are in it.
    pub has_sources: bool,
}

/// Reads what is behind `flatland page`. An error is one sentence.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<PageOptions, String> {
    let (mut files, mut to, mut has_sources) = (Vec::new(), None, true);
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some("-o" | "--output") => {
                let path = arguments.next().ok_or_else(|| format!("-o needs a file: {USAGE}"))?;
                to = Some(PathBuf::from(path));
            }
            Some("--no-sources") => has_sources = false,
            Some(other) if other.starts_with('-') => {
                return Err(format!("`flatland page` has no option `{other}`: {USAGE}"));
            }
            _ => files.push(PathBuf::from(argument)),
        }
    }
    let mut files = files.into_iter();
    let (recording, elf) = (files.next(), files.next());
    match (recording, to, files.next()) {
        (Some(recording), Some(to), None) => Ok(PageOptions { recording, elf, to, has_sources }),
        (None, ..) => Err(format!("a page needs a recording: {USAGE}")),
        (_, None, _) => Err(format!("a page needs a file to be written to: {USAGE}")),
        (_, _, Some(extra)) => Err(format!("`{}` is one argument too many: {USAGE}", extra.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Result<PageOptions, String> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn options_are_in_any_order_and_what_is_wrong_is_said() {
        let options = PageOptions {
            recording: "a.rec".into(),
            elf: Some("a.elf".into()),
            to: "a.html".into(),
            has_sources: false,
        };
        for line in ["a.rec a.elf -o a.html --no-sources", "--no-sources --output a.html a.rec a.elf"] {
            assert_eq!(words(line).as_ref(), Ok(&options), "{line}");
        }
        for (line, message) in [
            ("", "a page needs a recording: "),
            ("a.rec", "a page needs a file to be written to: "),
            ("a.rec -o", "-o needs a file: "),
            ("a b c -o d", "`c` is one argument too many: "),
            ("a --x -o d", "`flatland page` has no option `--x`: "),
        ] {
            assert_eq!(words(line), Err(format!("{message}{USAGE}")), "{line}");
        }
    }
}
