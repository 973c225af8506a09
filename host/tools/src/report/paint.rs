//! The choice of colours.

use std::env;
use std::error::Error;
use std::fmt::{self, Display};
use std::io;
use std::str::FromStr;

use anstream::stream::RawStream;
use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};

/// When text has colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Colors {
    /// On a terminal that supports them, unless NO_COLOR (no-color.org) is set; CLICOLOR and CLICOLOR_FORCE count, too.
    #[default]
    Auto,
    /// Always, also in a file or a pipe.
    Always,
    /// Never.
    Never,
}

impl Colors {
    /// What CARGO_TERM_COLOR says, which wins over NO_COLOR, as for cargo itself.
    pub fn from_environment() -> Self {
        env::var("CARGO_TERM_COLOR").ok().and_then(|text| text.parse().ok()).unwrap_or_default()
    }

    /// Makes it the choice of this process, for all that is painted afterwards.
    pub fn choose(self) {
        let choice = match self {
            Self::Auto => ColorChoice::Auto,
            Self::Always => ColorChoice::Always,
            Self::Never => ColorChoice::Never,
        };
        choice.write_global();
    }
}

impl FromStr for Colors {
    type Err = UnknownColors;

    fn from_str(text: &str) -> Result<Self, UnknownColors> {
        match text {
            "auto" => Ok(Self::Auto),
            "always" => Ok(Self::Always),
            "never" => Ok(Self::Never),
            _ => Err(UnknownColors),
        }
    }
}

/// The text is not a choice of colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownColors;

impl Display for UnknownColors {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("not a choice: give auto, always or never")
    }
}

impl Error for UnknownColors {}

/// Whether text has colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Paint {
    is_on: bool,
}

/// The error and its location.
const FAULT: Style = AnsiColor::Red.on_default().bold();
/// Line numbers and labels.
const FRAME: Style = AnsiColor::Blue.on_default().bold();
/// Names.
const NAME: Style = Style::new().bold();

impl Paint {
    /// Plain text.
    pub const PLAIN: Self = Self { is_on: false };
    /// With colours.
    pub const COLOURED: Self = Self { is_on: true };

    /// With colours if standard error is to have them: see [`Colors`].
    pub fn for_standard_error() -> Self {
        Self::for_stream(&io::stderr())
    }

    /// With colours if this stream is to have them: see [`Colors`].
    pub fn for_stream(stream: &impl RawStream) -> Self {
        Self { is_on: AutoStream::choice(stream) != ColorChoice::Never }
    }

    pub(super) fn fault(self, text: impl Display) -> String {
        self.with(FAULT, text)
    }

    pub(super) fn frame(self, text: impl Display) -> String {
        self.with(FRAME, text)
    }

    pub(super) fn name(self, text: impl Display) -> String {
        self.with(NAME, text)
    }

    /// The word that marks output of the host, as opposed to the guest's.
    pub fn mark(self, text: impl Display) -> String {
        self.with(FAULT, text)
    }

    /// The result of a test that has passed.
    pub fn passed(self, text: impl Display) -> String {
        self.with(AnsiColor::Green.on_default(), text)
    }

    /// The result of a test that has failed.
    pub fn failed(self, text: impl Display) -> String {
        self.with(AnsiColor::Red.on_default(), text)
    }

    /// The result of a test that is ignored.
    pub fn ignored(self, text: impl Display) -> String {
        self.with(AnsiColor::Yellow.on_default(), text)
    }

    fn with(self, style: Style, text: impl Display) -> String {
        if self.is_on { format!("{style}{text}{style:#}") } else { text.to_string() }
    }
}
