//! `cargo xtask package`: packs the packages that others need, as the registry gets them, or publishes them.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use cargo_flatland::cargo::{cargo, show_and_run};
use cargo_flatland::guest::guest_cargo;
use cargo_flatland::target::Target;
use cargo_flatland::{Context, Result, rust_source};

use crate::checkout::Checkout;

/// Packs everything into target/package, and makes a folder of it there that cargo takes in place of the registry: the
/// packages, and all that they and the standard library depend on. Nothing in there refers to the checkout.
pub fn package(context: &Context) -> Result<()> {
    // What is never published: the manifests say so, too.
    const NOT_HOST: [&str; 6] =
        ["--exclude", "flatland-bench", "--exclude", "flatland-viewer", "--exclude", "xtask"];
    // A library's lock file is for nobody, and to make it cargo would look for the contract in the registry.
    const NOT_GUEST: [&str; 5] =
        ["--exclude", "flatland-gallery", "--exclude", "xtask-from-guest", "--exclude-lockfile"];
    let checkout = Checkout::find()?;
    let guest = checkout.root().join("guest");
    let folder = checkout.target().join("package");
    let source = folder.join("source");
    let _ = fs::remove_dir_all(&folder);
    for (workspace, options) in [(checkout.root(), &NOT_HOST[..]), (&guest, &NOT_GUEST)] {
        // They are not built here: that they suffice is tested by installing them (xtask/tests/packages.rs).
        let words = ["package", "--quiet", "--workspace", "--no-verify", "--allow-dirty"];
        quiet(cargo(workspace, words).args(options).env("CARGO_TARGET_DIR", checkout.target()))?;
    }
    let library = rust_source::folder(context.downloads())?;
    let mut vendor = checkout.cargo(["vendor", "--quiet", "--versioned-dirs", "--sync", "guest/Cargo.toml"]);
    // The standard library's manifests use what is unstable.
    vendor.arg("--sync").arg(library.join("Cargo.toml")).env("RUSTC_BOOTSTRAP", "1");
    quiet(vendor.arg(&source))?;
    let mut count = 0;
    for entry in fs::read_dir(&folder).map_err(|error| cannot("read", &folder, &error))?.flatten() {
        let packed = entry.path();
        if packed.extension().is_some_and(|extension| extension == "crate") {
            unpack(&packed, &source)?;
            count += 1;
        }
    }
    let settings = folder.join("config.toml");
    let text = format!(
        "[source.crates-io]\nreplace-with = \"packed\"\n\n[source.packed]\ndirectory = {:?}\n",
        source.display().to_string()
    );
    fs::write(&settings, text).map_err(|error| cannot("write", &settings, &error))?;
    println!(
        "packed {count} packages; this installs from them alone: cargo install --config {} cargo-flatland",
        settings.display()
    );
    Ok(())
}

/// Publishes everything. cargo knows what comes first, and what is never published.
pub fn publish(context: &Context) -> Result<()> {
    show_and_run(Checkout::find()?.cargo(["publish", "--workspace"]))?;
    show_and_run(guest_cargo(context, Target::Bare, "publish", &["--workspace"])?)
}

/// Unpacks a package, with the checksum by which cargo knows it in lock files.
fn unpack(packed: &Path, source: &Path) -> Result<()> {
    quiet(Command::new("tar").arg("xzf").arg(packed).arg("-C").arg(source))?;
    let said = quiet(Command::new("sha256sum").arg(packed))?;
    let sum = said.split(' ').next().unwrap_or_default().trim_start_matches('\\');
    let file = source.join(packed.file_stem().unwrap_or_default()).join(".cargo-checksum.json");
    let text = format!("{{\"files\":{{}},\"package\":\"{sum}\"}}");
    fs::write(&file, text).map_err(|error| cannot("write", &file, &error))
}

/// Runs a command, and shows what it says of errors only if it fails: cargo warns of each test that stays here. Returns its
/// standard output.
fn quiet(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cannot run {name} ({error}): install it"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    Err(format!("{name} failed, and its messages stand above: correct what they say"))
}

fn cannot(what: &str, path: &Path, error: &std::io::Error) -> String {
    format!("cannot {what} {} ({error}): make room, or mend its permissions", path.display())
}
