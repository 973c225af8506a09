//! Makes a page.
//!
//! The page has the viewer (host/viewer) as WebAssembly, the recording, and the program's names, lines and sources. It asks
//! for nothing: its policy (Content-Security-Policy) allows its own script and style by their hashes, and no request.
//! What comes from the recording and the program is compressed and in base64, so that none of it can be markup.

use std::env;
use std::fs;
use std::path::Path;

use crate::words;

use super::names;
use super::options::PageOptions;
use super::packed::{hash, packed};
use crate::cli::messages::say;
use crate::cli::recordings;

/// The variable that names the viewer. Who builds it sets it.
const VIEWER: &str = "FLATLAND_VIEWER";

/// The largest recording that goes into a page, in bytes: a browser reads all of the page at once.
const LARGEST: u64 = 64 << 20;

/// Makes the page.
pub fn make(options: &PageOptions) -> Result<(), String> {
    let PageOptions { recording: path, elf, to, has_sources } = options;
    let viewer = viewer()?;
    let recording = recordings::read("show", path)?;
    let shown = path.display();
    if recording.lacks_program() {
        return Err(format!(
            "cannot show `{shown}`: it was recorded without its program, which the page needs: record it without \
             --record-without-program"
        ));
    }
    let bytes = fs::read(path).map_err(|error| format!("cannot show `{shown}` ({error}): check the path"))?;
    if bytes.len() as u64 > LARGEST {
        return Err(format!(
            "cannot show `{shown}`: it is of {} MiB, and a page has room for {}: record less, with --max-instructions COUNT",
            bytes.len() >> 20,
            LARGEST >> 20
        ));
    }
    let title = recording.program().and_then(|program| Path::new(program).file_stem());
    let title = title.map_or_else(|| "a recorded run".into(), |stem| stem.to_string_lossy().into_owned());
    let elf = elf.clone().or_else(|| recordings::elf_of(recording));
    let names = names::json(&title, elf.as_deref(), *has_sources)?;
    let text = html(&viewer, &bytes, names.as_bytes());
    fs::write(to, &text)
        .map_err(|error| format!("cannot write -o `{}` ({error}): give another place", to.display()))?;
    say(&words::written("page", &format!("{} KB", text.len().div_ceil(1000)), to));
    Ok(())
}

/// The viewer's WebAssembly.
fn viewer() -> Result<Vec<u8>, String> {
    let build = "`cargo xtask page RECORDING -o FILE` in a checkout of Flatland builds it";
    let Some(path) = env::var_os(VIEWER) else {
        return Err(format!("a page needs the viewer as WebAssembly, which {VIEWER} names: {build}"));
    };
    let path = Path::new(&path);
    let bytes = fs::read(path)
        .map_err(|error| format!("cannot read {VIEWER} `{}` ({error}): {build}", path.display()))?;
    match bytes.starts_with(b"\0asm") {
        true => Ok(bytes),
        false => Err(format!("{VIEWER} `{}` is no WebAssembly: {build}", path.display())),
    }
}

const STYLE: &str = include_str!("style.css");

/// The script, in the order in which its parts use one another.
const SCRIPT: &str = concat!(
    "'use strict';\n",
    include_str!("run.js"),
    include_str!("source.js"),
    include_str!("panes.js"),
    include_str!("console.js"),
    include_str!("chart.js"),
    include_str!("page.js"),
);

/// The page. What is not of this file or of the page's own is in base64.
fn html(viewer: &[u8], recording: &[u8], names: &[u8]) -> String {
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{}' 'wasm-unsafe-eval'; style-src 'sha256-{}'; base-uri 'none'; \
         form-action 'none'",
        hash(SCRIPT),
        hash(STYLE)
    );
    let mut page = String::new();
    for piece in include_str!("page.html").split("{{") {
        let (name, rest) = piece.split_once("}}").unwrap_or(("", piece));
        match name {
            "policy" => page += &policy,
            "style" => page += STYLE,
            "script" => page += SCRIPT,
            "viewer" => page += &packed(viewer),
            "recording" => page += &packed(recording),
            "names" => page += &packed(names),
            _ => {}
        }
        page += rest;
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_is_markup_and_the_policy_has_the_hashes() {
        let evil = b"</script><script>alert(1)</script>{{script}}";
        let page = html(evil, evil, evil);
        assert!(!page.contains("alert(1)") && !page.contains("{{"));
        assert_eq!(page.matches(SCRIPT).count(), 1);
        assert_eq!(page.matches("<script").count(), 4, "three of data, and one");
        assert!(page.contains("default-src 'none'; script-src 'sha256-"));
        for text in [SCRIPT, STYLE] {
            assert!(
                !text.contains("</") && !text.contains("http"),
                "it would end early, or ask for something"
            );
        }
    }
}
