//! Folders of the user's.

use std::env;
use std::path::PathBuf;

/// Flatland's folder for what can be made again, as the system has it; `None` if nothing says where.
pub fn cache() -> Option<PathBuf> {
    let of = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = if cfg!(windows) {
        of("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        of("HOME").map(|home| home.join("Library/Caches"))
    } else {
        of("XDG_CACHE_HOME").or_else(|| of("HOME").map(|home| home.join(".cache")))
    };
    folder.map(|folder| folder.join("flatland"))
}
