//! The checkout that this program was built in, if it was. Guests take the runtime from there, and not from the registry.

use std::path::{Path, PathBuf};

use crate::Result;

/// The packages that guests may depend on, and their folders in a checkout.
const PACKAGES: [(&str, &str); 6] = [
    ("flatland-contract", "contract"),
    ("flatland-guest", "guest/runtime"),
    ("flatland-guest-macros", "guest/macros"),
    ("flatland-guest-test", "guest/test"),
    ("flatland-soft", "host/soft"),
    ("flatland-x86", "host/x86"),
];

/// The checkout, if this program was built in one that is still there.
pub fn root() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    (root.join("guest/Cargo.toml").is_file() && root.join("contract/Cargo.toml").is_file())
        .then(|| root.into())
}

/// cargo's options for a package that takes packages of these names from the registry: those of the checkout replace them.
pub fn patches<'a>(from_registry: impl Iterator<Item = &'a str>) -> Result<Vec<String>> {
    let Some(root) = root() else { return Ok(Vec::new()) };
    let mut options = Vec::new();
    for (name, folder) in found(from_registry) {
        options.extend([
            "--config".into(),
            format!("patch.crates-io.{name}.path={}", toml_path(&root.join(folder))?),
        ]);
    }
    Ok(options)
}

/// The same, for a plain cargo: the text of a settings file.
pub fn patch_table() -> Result<Option<String>> {
    let Some(root) = root() else { return Ok(None) };
    let mut text = String::from("[patch.crates-io]\n");
    for (name, folder) in found(["flatland-guest", "flatland-guest-test"].into_iter()) {
        text += &format!("{name} = {{ path = {} }}\n", toml_path(&root.join(folder))?);
    }
    Ok(Some(text))
}

fn found<'a>(names: impl Iterator<Item = &'a str>) -> Vec<(&'static str, &'static str)> {
    let names: Vec<_> = names.collect();
    PACKAGES.into_iter().filter(|(name, _)| names.contains(name)).collect()
}

/// A path as a string of TOML.
fn toml_path(path: &Path) -> Result<String> {
    let path = path.to_str().ok_or("the path of the checkout is not UTF-8: move it")?;
    Ok(format!("\"{}\"", path.replace('\\', "\\\\").replace('"', "\\\"")))
}
