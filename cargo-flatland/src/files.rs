//! Writes files.

use std::fs;
use std::path::Path;

use crate::Result;

/// Writes a file atomically, unless it has these contents already.
pub fn write_if_changed(path: &Path, contents: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|old| old == contents) {
        return Ok(());
    }
    let temporary = path.with_added_extension(std::process::id().to_string());
    fs::write(&temporary, contents).and_then(|()| fs::rename(&temporary, path)).map_err(|error| {
        format!("cannot write {} ({error}): make room, or mend the folder's permissions", path.display())
    })
}

/// Writes a file that is not there yet, and its folders.
pub fn write_new(path: &Path, contents: &str) -> Result<()> {
    let folder = path.parent().expect("it has a folder");
    fs::create_dir_all(folder).and_then(|()| fs::write(path, contents)).map_err(|error| {
        format!("cannot write {} ({error}): choose another folder, or mend its permissions", path.display())
    })
}

/// Whether files can be written in this folder, which is made if it is not there.
pub fn is_writable(folder: &Path) -> bool {
    let probe = folder.join(format!("probe-{}", std::process::id()));
    let result = fs::create_dir_all(folder).and_then(|()| fs::write(&probe, ""));
    let _ = fs::remove_file(&probe);
    result.is_ok()
}
