//! The checkout that a command works on, and its programs.

use std::env::{self, consts};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use cargo_flatland::cargo::{self, cargo};
use cargo_flatland::host::{Host, Place, Program};
use cargo_flatland::{Context, Result};

/// The variable with the caller's folder, if cargo was called in another one. Set by guest/xtask.
pub const CALLERS_FOLDER: &str = "FLATLAND_XTASK_FOLDER";

/// A checkout of the project.
#[derive(Clone, Debug)]
pub struct Checkout {
    root: PathBuf,
    target: PathBuf,
}

/// The checkout of this process: found once.
static CHECKOUT: OnceLock<Result<Checkout>> = OnceLock::new();

impl Checkout {
    /// Finds the checkout in which cargo runs this program, or else the one it was built in.
    pub fn find() -> Result<&'static Self> {
        CHECKOUT.get_or_init(Self::search).as_ref().map_err(Clone::clone)
    }

    fn search() -> Result<Self> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        // If a checkout was copied with its `target`, cargo does not rebuild this program, so `here` is in the
        // original. The variable names the copy.
        let told = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        match told.as_deref().and_then(root_of).or_else(|| root_of(here)) {
            Some(root) => {
                let program = env::current_exe().unwrap_or_default();
                let default = root.join("target");
                let target = match target_of(&program) {
                    // The kernel reports the program's path without symbolic links.
                    Some(target) if fs::canonicalize(&default).is_ok_and(|path| path == target) => default,
                    Some(target) => target.into(),
                    None => default,
                };
                Ok(Self { root: root.into(), target })
            }
            None => Err(format!(
                "{} is no longer in a checkout of Flatland: call `cargo xtask` from inside one",
                here.display()
            )),
        }
    }

    /// What commands for guests work with.
    pub fn context(&self) -> Context {
        Context::of_checkout(&Built, &self.root, &self.target, callers_folder())
    }

    /// The checkout's top folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The target folder of the host's workspace: the one in which cargo has built this program, whichever setting
    /// chose it.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// The folder of flat images and their ELF files.
    pub fn images(&self) -> PathBuf {
        self.target.join("guest")
    }

    /// The ELF file of a guest program.
    pub fn elf(&self, name: &str) -> PathBuf {
        self.images().join(format!("{name}.elf"))
    }

    /// Prepares a call of cargo for the host's workspace.
    pub fn cargo(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = cargo(&self.root, arguments);
        command.env("CARGO_TARGET_DIR", &self.target);
        command
    }

    /// Builds the program of this name in a package of the host's workspace, and returns its path.
    pub fn build(&self, package: &str, name: &str) -> Result<PathBuf> {
        // cargo reports the program's path: the user's settings may name a target, and then the folder is another one.
        let mut arguments = vec![
            "rustc",
            "--release",
            "--package",
            package,
            "--bin",
            name,
            "--message-format",
            "json-render-diagnostics",
        ];
        if has_static_libc() {
            arguments.extend(["--", "-C", "target-feature=+crt-static"]);
        }
        cargo::build(self.cargo(arguments))?
            .pop()
            .ok_or_else(|| format!("cargo does not say where it has built {name}: report it"))
    }
}

/// The caller's folder. Paths on the command line are relative to it.
pub fn callers_folder() -> PathBuf {
    env::var_os(CALLERS_FOLDER).map_or_else(|| env::current_dir().unwrap_or_default(), PathBuf::from)
}

/// The host's programs, which cargo builds, or finds to be built.
#[derive(Debug)]
pub struct Built;

impl Host for Built {
    fn find(&self, program: Program) -> Result<Place> {
        let package = match program {
            Program::Flatland | Program::Inspect => "flatland-vmm",
            Program::Test => "flatland-test",
            Program::Fuzz => "flatland-fuzz",
        };
        let file = Checkout::find()?.build(package, program.name())?;
        Ok(Place { file, words: Vec::new() })
    }

    /// All of them are in the checkout, and are built where they are needed.
    fn check(&self, _: Program) -> Result<()> {
        Ok(())
    }
}

/// Whether the C library can be linked statically. A dynamic linker takes a fifth of the time from start to exit of a
/// small guest. The static library is not installed everywhere, and asking the compiler would take as long.
fn has_static_libc() -> bool {
    const FOLDERS: [&str; 3] = ["/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib"];
    let is_there = |folder: &&str| Path::new(folder).join("libc.a").exists();
    cfg!(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64")) && FOLDERS.iter().any(is_there)
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
