//! What a command works with: the host's programs, the caller's folder, and the package that is meant.

use std::cell::OnceCell;
use std::env;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::Result;
use crate::host::Host;
use crate::metadata;
use crate::package::{Package, has_guests};
use crate::places;

/// What a command works with.
pub struct Context {
    host: &'static dyn Host,
    folder: PathBuf,
    downloads: Option<PathBuf>,
    /// The checkout whose guests are meant.
    checkout: Option<Checkout>,
    /// The package that was named.
    name: Option<String>,
    package: OnceCell<Result<Package>>,
}

/// The top folder of a checkout and its folder of images.
struct Checkout {
    root: PathBuf,
    images: PathBuf,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("folder", &self.folder).field("package", &self.package).finish()
    }
}

impl Context {
    /// A command about the package around the current folder, or the one of this name.
    pub fn here(host: &'static dyn Host, name: Option<String>) -> Self {
        let folder = env::current_dir().unwrap_or_default();
        let downloads = places::cache().map(|cache| cache.join("rust-src"));
        Self { host, folder, downloads, checkout: None, name, package: OnceCell::new() }
    }

    /// A command about the guests of a checkout, called in this folder. `target` is where all is built.
    pub fn of_checkout(host: &'static dyn Host, root: &Path, target: &Path, folder: PathBuf) -> Self {
        let checkout = Some(Checkout { root: root.into(), images: target.join("guest") });
        let downloads = Some(target.join("rust-src"));
        Self { host, folder, downloads, checkout, name: None, package: OnceCell::new() }
    }

    /// The host's programs.
    pub fn host(&self) -> &'static dyn Host {
        self.host
    }

    /// The caller's folder. Paths on the command line are relative to it.
    pub fn callers_folder(&self) -> &Path {
        &self.folder
    }

    /// The folder for sources of the standard library.
    pub fn downloads(&self) -> Option<&Path> {
        self.downloads.as_deref()
    }

    /// The package with the guests. cargo is asked only once.
    pub fn package(&self) -> Result<&Package> {
        let find = || match &self.checkout {
            Some(Checkout { root, images }) => Package::of_checkout(&root.join("guest"), images),
            None => Package::find(&self.folder, self.name.as_deref()),
        };
        self.package.get_or_init(find).as_ref().map_err(Clone::clone)
    }

    /// Whether there are guests here, so that a new program is one of theirs.
    pub fn has_guests(&self) -> Result<bool> {
        if self.checkout.is_some() {
            return Ok(true);
        }
        Ok(metadata::read(&self.folder)?.is_some_and(|metadata| metadata.members.iter().any(has_guests)))
    }

    /// The package that was named, if one was.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The folder of images: that of the package, or where there is none, one for temporary files.
    pub fn images(&self) -> PathBuf {
        match (&self.checkout, self.package()) {
            (Some(checkout), _) => checkout.images.clone(),
            (None, Ok(package)) => package.images.clone(),
            (None, Err(_)) => env::temp_dir().join("flatland"),
        }
    }

    /// Shortens a path for messages: relative to the checkout, to the caller's folder or to the package, if it is inside
    /// one of them.
    pub fn show(&self, path: &Path) -> String {
        let package = self.package.get().and_then(|package| Some(&*package.as_ref().ok()?.folder));
        let bases = match &self.checkout {
            Some(checkout) => [Some(&*checkout.root), None],
            None => [Some(&*self.folder), package],
        };
        let inside = bases.into_iter().flatten().find_map(|base| path.strip_prefix(base).ok());
        inside.unwrap_or(path).display().to_string()
    }
}
