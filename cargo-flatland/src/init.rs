//! `cargo flatland init`: settings with which a plain cargo, and editors, know the bare machine.

use std::fs;
use std::path::Path;

use crate::files::{write_if_changed, write_new};
use crate::package::has_guests;
use crate::target::Target;
use crate::{Context, Result, caller, checkout, metadata};

/// The settings that a checkout has in guest/.cargo, too.
const BARE: &str = include_str!("bare.toml");

/// The file that says where a checkout is. It is for this machine alone.
const CHECKOUT_FILE: &str = ".cargo/checkout.toml";

/// What became of a file.
enum File {
    Made,
    IsThere,
    /// Somebody has written it.
    Differs,
}

/// Writes the files of a package that are not there yet. Returns the message to print.
pub fn init(context: &Context) -> Result<String> {
    let folder = context.callers_folder();
    let metadata = metadata::read(folder)?
        .ok_or_else(|| format!("there is no package here: make one with `{} new NAME`", caller::cargo()))?;
    let member = match context.name() {
        Some(name) => metadata.members.iter().find(|member| member.name == name),
        None => metadata.around(folder),
    };
    let member = member.ok_or("which package? Go to its folder, or name it with --package NAME")?;
    let mut text = String::new();
    for (path, contents, file) in write(&member.folder, member.hard_floats.of_package())? {
        let shown = context.show(&member.folder.join(path));
        text += &match file {
            File::Made => format!("made {shown}\n"),
            File::IsThere => format!("{shown} is there already\n"),
            File::Differs => {
                let lines: String = contents.lines().map(|line| format!("  {line}\n")).collect();
                format!("{shown} has something else: add what it lacks of this:\n{lines}")
            }
        };
    }
    if checkout::root().is_some() {
        text += &format!("{CHECKOUT_FILE} is for this machine alone: add it to .gitignore\n");
    }
    if !has_guests(member) {
        text += "it needs the runtime: `cargo add flatland-guest`, and for tests `cargo add --dev flatland-guest-test --rename \
                 test`\n";
    }
    text += "`cargo run` and `cargo test` work here with a nightly toolchain, or with RUSTC_BOOTSTRAP=1 in the environment\n";
    Ok(text)
}

/// Writes the files that are not there yet into the folder of a package. Returns their paths and contents, and what
/// became of them.
fn write(folder: &Path, target: Target) -> Result<Vec<(String, String, File)>> {
    if let Some(table) = checkout::patch_table()? {
        let path = folder.join(CHECKOUT_FILE);
        fs::create_dir_all(folder.join(".cargo")).map_err(|error| {
            format!("cannot make {} ({error}): mend the folder's permissions", path.display())
        })?;
        write_if_changed(&path, table.as_bytes())?;
    }
    let settings = include_str!("init/config.toml").replace(Target::Bare.name(), target.name());
    let files = [
        (target.file(), target.text().to_owned()),
        (".cargo/config.toml".into(), [&settings, BARE].concat()),
        (".vscode/settings.json".into(), include_str!("init/settings.json").to_owned()),
    ];
    let files = files.into_iter().map(|(name, contents)| {
        let path = folder.join(&name);
        let file = match fs::read_to_string(&path) {
            Ok(old) if old == contents => File::IsThere,
            Ok(_) => File::Differs,
            // What is there and cannot be read cannot be written either, and that says why.
            Err(_) => {
                write_new(&path, &contents)?;
                File::Made
            }
        };
        Ok((name, contents, file))
    });
    files.collect()
}

/// Writes the files into the folder of a new package.
pub fn in_new(folder: &Path) -> Result<()> {
    write(folder, Target::Bare).map(drop)
}
