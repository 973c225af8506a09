//! Paths in a checkout.

use std::env::{self, consts};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;

/// The variable with the path of the guest's crate, if that is not in the checkout. Set by the .cargo/config.toml that
/// `cargo xtask new --path` writes.
const GUEST: &str = "FLATLAND_GUEST";

/// The variable with the caller's folder, if cargo was called in another one. Set by guest/xtask.
const CALLERS_FOLDER: &str = "FLATLAND_XTASK_FOLDER";

/// A checkout of the project, and the guest's crate that a command works on.
#[derive(Clone, Debug)]
pub struct Workspace {
    root: PathBuf,
    guest: PathBuf,
    target: PathBuf,
}

impl Workspace {
    /// Finds the checkout in which cargo runs this program, or else the one it was built in, and the caller's guest
    /// crate.
    pub fn find() -> Result<Self> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        // If a checkout was copied with its `target`, cargo does not rebuild this program, so `here` is in the
        // original. The variable names the copy.
        let told = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        match told.as_deref().and_then(root_of).or_else(|| root_of(here)) {
            Some(root) => {
                let guest = env::var_os(GUEST).map(PathBuf::from);
                // The path from cargo ends with a `.`, which `components` drops.
                let guest = guest.map_or_else(|| root.join("guest"), |guest| guest.components().collect());
                let program = env::current_exe().unwrap_or_default();
                let default = root.join("target");
                let target = match target_of(&program) {
                    // The kernel reports the program's path without symbolic links.
                    Some(target) if fs::canonicalize(&default).is_ok_and(|path| path == target) => default,
                    Some(target) => target.into(),
                    None => default,
                };
                Ok(Self { root: root.into(), guest, target })
            }
            None => Err(format!(
                "{} is no longer in a checkout of Flatland: call `cargo xtask` from inside one",
                here.display()
            )),
        }
    }

    /// The same checkout with its own guest crate and its own `target`.
    pub fn alone(&self) -> Self {
        Self { root: self.root.clone(), guest: self.root.join("guest"), target: self.root.join("target") }
    }

    /// Whether the guest's crate is outside of the checkout, as `cargo xtask new --path` makes it.
    pub fn is_elsewhere(&self) -> bool {
        self.guest != self.root.join("guest")
    }

    /// Removes the variables that select the guest's crate, the caller's folder and the target folder. A nested call
    /// of `cargo xtask` determines them anew.
    pub fn forget_guest(command: &mut Command) -> &mut Command {
        command.env_remove(GUEST).env_remove(CALLERS_FOLDER).env_remove("CARGO_TARGET_DIR")
    }

    /// The checkout's top folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The guest's crate, a cargo workspace of its own.
    pub fn guest(&self) -> &Path {
        &self.guest
    }

    /// The target folder of the host's workspace: the one in which cargo has built this program, whichever setting
    /// chose it.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// The folder of flat images and their ELF files. A crate elsewhere has its own `target`, unless the user's
    /// settings name one for all crates.
    pub fn images(&self) -> PathBuf {
        let is_chosen = self.target != self.root.join("target");
        let target =
            if self.is_elsewhere() && !is_chosen { self.guest.join("target") } else { self.target.clone() };
        target.join("guest")
    }

    /// The caller's folder. Paths on the command line are relative to it.
    pub fn callers_folder(&self) -> PathBuf {
        env::var_os(CALLERS_FOLDER).map_or_else(|| env::current_dir().unwrap_or_default(), PathBuf::from)
    }

    /// Shortens a path for messages: relative to the checkout or to the guest's crate, if it is inside one of them.
    pub fn show(&self, path: &Path) -> String {
        let inside = path.strip_prefix(&self.root).or_else(|_| path.strip_prefix(&self.guest));
        inside.unwrap_or(path).display().to_string()
    }

    /// A guest program's flat image.
    pub fn image(&self, name: &str) -> PathBuf {
        self.images().join(format!("{name}.bin"))
    }

    /// The ELF file that a flat image is made of, with symbols and line tables.
    pub fn elf(&self, name: &str) -> PathBuf {
        self.images().join(format!("{name}.elf"))
    }
}

/// The checkout that has this folder as its `xtask`, if any.
fn root_of(folder: &Path) -> Option<&Path> {
    let root = folder.parent()?;
    (folder.ends_with("xtask") && root.join("i686-bare.json").exists()).then_some(root)
}

/// The target folder in which cargo has built this program. The program is in TARGET/debug, or in TARGET/TRIPLE/debug
/// if the user's settings name a target.
fn target_of(program: &Path) -> Option<&Path> {
    let folder = program.parent()?.parent()?;
    let name = folder.file_name()?.to_string_lossy();
    let is_triple = name.starts_with(consts::ARCH) && name.contains(consts::OS);
    if is_triple { folder.parent() } else { Some(folder) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkout_is_known_by_its_target() {
        let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = xtask.parent().unwrap();
        assert_eq!(root_of(xtask), Some(root));
        for other in [root.join("host"), root.join("guest/xtask"), root.to_path_buf(), PathBuf::new()] {
            assert_eq!(root_of(&other), None, "{}", other.display());
        }
    }

    #[test]
    fn the_target_folder_is_where_the_program_was_built() {
        let triple = format!("/a/target/{}-unknown-{}-gnu/debug/xtask", consts::ARCH, consts::OS);
        for program in ["/a/target/debug/xtask", &triple] {
            assert_eq!(target_of(Path::new(program)), Some(Path::new("/a/target")), "{program}");
        }
        assert_eq!(target_of(Path::new("")), None);
    }
}
