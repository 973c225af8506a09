//! Pages for man(1) (man(7)).

use super::{Choice, Page};
use crate::caller;

/// A text that roff prints as it is.
fn plain(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-").replace('`', "");
    let is_request = text.starts_with(['.', '\'']);
    if is_request { format!("\\&{text}") } else { text }
}

fn options(options: &[Choice], text: &mut String) {
    for option in options {
        *text += &format!(".TP\n.B {}\n{}\n", plain(&option.form), plain(&option.about));
    }
}

/// Lines that stay as they are.
fn lines(of: &str, text: &mut String) {
    *text += ".nf\n";
    of.lines().for_each(|line| *text += &format!("{}\n", plain(line)));
    *text += ".fi\n";
}

/// The page of a program.
pub fn page(page: &Page) -> String {
    let name = page.name.replace(' ', "-");
    let version = env!("CARGO_PKG_VERSION");
    let mut text =
        format!(".TH \"{}\" 1 \"\" \"Flatland {version}\"\n.SH NAME\n", plain(&name.to_uppercase()));
    let mut blocks = page.text.trim_end().split("\n\n");
    let about = blocks.next().unwrap_or_default().trim_end_matches('.');
    text += &format!("{} \\- {}\n", plain(&name), plain(about));
    for block in blocks {
        // A block with a head: `Usage: ...`, or `Options:` above its lines.
        match block.split_once(':') {
            Some(("Usage", usage)) => {
                text += ".SH SYNOPSIS\n";
                lines(&usage.lines().map(str::trim_start).collect::<Vec<_>>().join("\n"), &mut text);
            }
            Some(("Options", _)) => {
                text += ".SH OPTIONS\n";
                options(&page.options, &mut text);
            }
            Some(("Commands", _)) => commands(page, &mut text),
            Some((head @ ("Exit status" | "Ports, one byte at a time"), rest)) => {
                text += &format!(".SH \"{}\"\n", head.to_uppercase());
                lines(rest.trim_start_matches(['\n', ' ']), &mut text);
            }
            _ => text += &format!(".PP\n{}\n", plain(block)),
        }
    }
    text += &match page.commands.is_empty() {
        true => format!(".SH \"SEE ALSO\"\n.BR {} (1)\n", plain(&caller::cargo().replace(' ', "-"))),
        false => ".SH \"SEE ALSO\"\n.BR flatland (1)\n".into(),
    };
    text
}

fn commands(page: &Page, text: &mut String) {
    text.push_str(".SH COMMANDS\n");
    for command in &page.commands {
        *text += &format!(".SS {}\n", plain(command.name));
        lines(command.text.trim_end(), text);
    }
}
