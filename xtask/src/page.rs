//! `cargo xtask page`: a recorded run as one file for a browser.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use cargo_flatland::guest::{self, Profile, build_std};
use cargo_flatland::host::{Host, Program, become_it, cannot_run};
use cargo_flatland::{Context, Result, cargo, programs};

use crate::checkout::{Built, Checkout};

/// The variable in which `flatland page` looks for the viewer.
const VIEWER: &str = "FLATLAND_VIEWER";

/// The flags for the viewer and all that it is made of. A panic is a trap, without words that nobody would see. The page
/// takes at most 1 GiB of memory, whatever the recording says.
const FLAGS: [&str; 5] = [
    "--cfg=getrandom_backend=\"unsupported\"",
    "-Zunstable-options",
    "-Cpanic=immediate-abort",
    "-Clink-arg=--max-memory=1073741824",
    "-Clink-arg=-zstack-size=1048576",
];

/// What to make a page of.
#[derive(Debug)]
pub struct Options {
    /// A guest program, or the path of a recording.
    pub name: String,
    /// The file to write.
    pub to: Option<PathBuf>,
    pub has_sources: bool,
    pub profile: Profile,
    /// Arguments of `flatland` for the run; with a recording, of `flatland page`.
    pub flatland: Vec<OsString>,
}

/// Runs a guest program and makes a page of that, or makes one of a recording.
pub fn page(context: &Context, options: &Options) -> Result<()> {
    let Options { name, to, has_sources, profile, flatland: arguments } = options;
    let checkout = Checkout::find()?;
    let folder = context.callers_folder();
    // What is wrong with the name is said before the viewer is built, which takes long.
    let program = match folder.join(name).is_file() {
        true => None,
        false => Some(programs::find(context.package()?, name)?),
    };
    let viewer = build_viewer(context)?;
    let flatland = Built.find(Program::Flatland)?;
    let mut command = flatland.command();
    command.arg("page").current_dir(folder).env(VIEWER, viewer);
    if let Some(program) = program {
        guest::build(context, &[program], *profile)?;
        let (elf, recording) = (checkout.elf(name), checkout.images().join(format!("{name}.rec")));
        // What an earlier run has left is not this one's.
        let _ = fs::remove_file(&recording);
        let mut run = flatland.command();
        run.current_dir(folder).arg("--record").arg(&recording);
        let names_engine = |argument: &OsString| argument.as_encoded_bytes().starts_with(b"--engine");
        if !arguments.iter().take_while(|argument| *argument != "--").any(names_engine) {
            run.args(["--engine", "soft"]);
        }
        // The program may end in any way: that is what the page is for. If it has not begun, the page says so.
        run.arg(&elf).args(arguments).status().map_err(|error| cannot_run(&run, &error))?;
        let default = checkout.images().join(format!("{name}.html"));
        command.arg(&recording).arg(&elf).arg("-o").arg(to.as_deref().unwrap_or(&default));
    } else {
        let default = Path::new(name).with_extension("html");
        command.arg(name).args(arguments).arg("-o").arg(to.as_deref().unwrap_or(&default));
    }
    if !has_sources {
        command.arg("--no-sources");
    }
    become_it(command)
}

/// Builds the viewer, and returns where it is.
pub fn build_viewer(context: &Context) -> Result<PathBuf> {
    const TARGET: &str = "wasm32-unknown-unknown";
    let checkout = Checkout::find()?;
    let mut command =
        checkout.cargo(["build", "--package", "flatland-viewer", "--lib", "--profile", "viewer"]);
    command.args(["--target", TARGET, "-Zbuild-std=std,panic_abort"]);
    command.env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"));
    build_std(context, &mut command)?;
    cargo::build(command)?;
    Ok(checkout.target().join(TARGET).join("viewer/flatland_viewer.wasm"))
}
