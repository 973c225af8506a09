//! Where things lie in a checkout.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;

/// Where the guest's crate is, if it is not the one in the checkout: set by the .cargo/config.toml that
/// `cargo xtask new --path` writes.
const GUEST: &str = "FLATLAND_GUEST";

/// Where the caller is, if that is not where cargo was called: set by guest/xtask.
const CALLERS_FOLDER: &str = "FLATLAND_XTASK_FOLDER";

/// A checkout of the project, and the guest's crate that a command is about.
#[derive(Clone, Debug)]
pub struct Workspace {
    root: PathBuf,
    guest: PathBuf,
}

impl Workspace {
    /// The checkout that cargo runs this program in, or else that it was built in, and the guest's crate of the caller.
    pub fn find() -> Result<Self> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        // Of a checkout that was copied with its `target` the program is still the other one's, and cargo does not mind.
        let told = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        match told.as_deref().and_then(root_of).or_else(|| root_of(here)) {
            Some(root) => {
                let guest = env::var_os(GUEST).map_or_else(|| root.join("guest"), PathBuf::from);
                Ok(Self { root: root.into(), guest })
            }
            None => Err(format!(
                "{} is no longer in a checkout of Flatland: call `cargo xtask` from inside one",
                here.display()
            )),
        }
    }

    /// The checkout alone, with its own guests.
    pub fn without_guest(&self) -> Self {
        Self { root: self.root.clone(), guest: self.root.join("guest") }
    }

    /// For a command that calls `cargo xtask` in turn: it is to find what it is about by itself.
    pub fn forget_guest(command: &mut Command) -> &mut Command {
        command.env_remove(GUEST).env_remove(CALLERS_FOLDER)
    }

    /// The checkout's top folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The guest's crate, a cargo workspace of its own.
    pub fn guest(&self) -> &Path {
        &self.guest
    }

    /// What is built of the host's workspace.
    pub fn target(&self) -> PathBuf {
        self.root.join("target")
    }

    /// The flat images and the ELF files they are made of.
    pub fn images(&self) -> PathBuf {
        let is_ours = self.guest == self.root.join("guest");
        if is_ours { self.target().join("guest") } else { self.guest.join("target/guest") }
    }

    /// Where the caller is, and paths on the command line are meant from.
    pub fn callers_folder(&self) -> PathBuf {
        env::var_os(CALLERS_FOLDER).map_or_else(|| env::current_dir().unwrap_or_default(), PathBuf::from)
    }

    /// A path as a person in the checkout, or in the guest's crate, would write it.
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

/// The checkout whose folder `xtask` this is, if it is one.
fn root_of(folder: &Path) -> Option<&Path> {
    let root = folder.parent()?;
    (folder.ends_with("xtask") && root.join("i686-bare.json").exists()).then_some(root)
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
}
