//! Where things lie in a checkout.

use std::path::{Path, PathBuf};

use crate::Result;

/// A checkout of the project.
#[derive(Clone, Debug)]
pub struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// The checkout that this program was built in.
    pub fn find() -> Result<Self> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        match here.parent() {
            Some(root) if root.join("i686-bare.json").exists() => Ok(Self { root: root.into() }),
            _ => Err(format!(
                "{} is no longer in a checkout of Flatland: call `cargo xtask` from inside one",
                here.display()
            )),
        }
    }

    /// The checkout's top folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The guest's crate, a cargo workspace of its own.
    pub fn guest(&self) -> PathBuf {
        self.root.join("guest")
    }

    /// Everything that is built.
    pub fn target(&self) -> PathBuf {
        self.root.join("target")
    }

    /// The flat images and the ELF files they are made of.
    pub fn images(&self) -> PathBuf {
        self.target().join("guest")
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
