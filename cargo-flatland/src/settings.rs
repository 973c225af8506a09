//! What holds for all of a command: for each call of cargo, and for the host's programs that it starts.

use std::env;
use std::process::Command;
use std::sync::OnceLock;

use anstream::ColorChoice;

/// What the command line says of all commands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Download nothing.
    pub offline: bool,
    /// Say nothing of progress.
    pub quiet: bool,
    /// When to use colours.
    pub colors: Option<ColorChoice>,
    /// The form of cargo's messages of a guest's build, which are on standard output.
    pub message_format: Option<String>,
}

/// The choices of cargo's option `--color`, by name.
const COLORS: [(&str, ColorChoice); 3] =
    [("auto", ColorChoice::Auto), ("always", ColorChoice::Always), ("never", ColorChoice::Never)];

/// cargo's variable for the same.
pub const CARGO_TERM_COLOR: &str = "CARGO_TERM_COLOR";

/// The choice of colours of this name.
pub fn colors_named(name: &str) -> Option<ColorChoice> {
    COLORS.iter().find(|(known, _)| *known == name).map(|(_, colors)| *colors)
}

/// The name of a choice of colours.
pub fn name_of(colors: ColorChoice) -> &'static str {
    COLORS.iter().find(|(_, known)| *known == colors).map_or("auto", |(name, _)| name)
}

static SETTINGS: OnceLock<Settings> = OnceLock::new();

/// Sets them; the first call counts.
pub fn set(settings: Settings) {
    settings.colors.or_else(colors_of_environment).unwrap_or(ColorChoice::Auto).write_global();
    let _ = SETTINGS.set(settings);
}

fn get() -> &'static Settings {
    SETTINGS.get_or_init(Settings::default)
}

/// Whether downloads are forbidden: by cargo's setting `net.offline`, or by the option `--offline`.
pub fn is_offline() -> bool {
    get().offline || is_true("CARGO_NET_OFFLINE")
}

/// Whether progress is not to be told: by cargo's setting `term.quiet`, or by the option `--quiet`.
pub fn is_quiet() -> bool {
    get().quiet || is_true("CARGO_TERM_QUIET")
}

/// The form of cargo's messages, if they are to be on standard output.
pub fn message_format() -> Option<&'static str> {
    get().message_format.as_deref()
}

/// When to use colours, if that was said: by the option `--color`, or else by CARGO_TERM_COLOR.
pub fn colors() -> Option<ColorChoice> {
    get().colors.or_else(colors_of_environment)
}

fn colors_of_environment() -> Option<ColorChoice> {
    env::var(CARGO_TERM_COLOR).ok().and_then(|name| colors_named(&name))
}

fn is_true(name: &str) -> bool {
    env::var_os(name).is_some_and(|value| value == "true")
}

/// Hands the settings on to cargo, or to a program of the host. The options come before the variables.
pub fn hand_on(command: &mut Command) {
    if is_offline() {
        command.env("CARGO_NET_OFFLINE", "true");
    }
    if is_quiet() {
        command.env("CARGO_TERM_QUIET", "true");
    }
    if let Some(colors) = get().colors {
        command.env(CARGO_TERM_COLOR, name_of(colors));
    }
}
