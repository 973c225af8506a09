//! The source of the standard library, which the guest's build compiles for the bare target.
//!
//! It must have the compiler's version. rustup installs it as the component `rust-src`, which rust-toolchain.toml
//! names. If rustup has not, the distribution's package has the same source.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process;

use xshell::{Shell, cmd};

use crate::cargo::ONLINE;
use crate::settings::{is_offline, is_quiet};
use crate::{Result, caller, progress};

/// Debian's suite with newer compilers than its stable release, and the key ring that verifies its signatures.
const DEBIAN_SUITE: &str = "trixie-backports";
const DEBIAN_KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Finds the source for the compiler in use, or else fetches it into this folder. `None` is the toolchain's own source,
/// which cargo finds by itself.
pub fn find(downloads: Option<&Path>) -> Result<Option<PathBuf>> {
    if is_library(&of_toolchain()?) {
        return Ok(None);
    }
    let version = &version()?;
    if let Some(library) = elsewhere(downloads, version) {
        return Ok(Some(library));
    }
    if is_offline() {
        return Err(format!(
            "the standard library's source for Rust {version} is not on this machine, and nothing may be downloaded: \
             `rustup component add rust-src` gets it, or this command {ONLINE}"
        ));
    }
    let fetched = downloads
        .map(|folder| folder.join(version))
        .ok_or("there is no folder for downloads: name one in XDG_CACHE_HOME")?;
    fetch_from_debian(version, &fetched).map_err(|why| {
        format!(
            "the standard library's source for Rust {version} is not on this machine, and could not be \
             fetched ({why}): run `rustup component add rust-src`, or on Debian `sudo apt-get install -t \
             {DEBIAN_SUITE} 'rust-src={version}*'`"
        )
    })?;
    Ok(Some(fetched.join("library")))
}

/// The same, with the path of the toolchain's own.
pub fn folder(downloads: Option<&Path>) -> Result<PathBuf> {
    find(downloads)?.map_or_else(of_toolchain, Ok)
}

/// Where the source is on this machine, if it is.
pub fn here(downloads: Option<&Path>) -> Result<Option<PathBuf>> {
    let library = of_toolchain()?;
    if is_library(&library) {
        return Ok(Some(library));
    }
    Ok(elsewhere(downloads, &version()?))
}

fn of_toolchain() -> Result<PathBuf> {
    Ok(sysroot()?.join("lib/rustlib/src/rust/library"))
}

/// The source that a distribution has installed, or that was fetched.
fn elsewhere(downloads: Option<&Path>, version: &str) -> Option<PathBuf> {
    let distributions = PathBuf::from(format!("/usr/src/rustc-{version}/library"));
    let fetched = downloads.map(|folder| folder.join(version).join("library"));
    [Some(distributions), fetched].into_iter().flatten().find(|library| is_library(library))
}

/// Whether the folder has the library. cargo identifies it by its lock file, too.
fn is_library(folder: &Path) -> bool {
    folder.join("Cargo.lock").is_file()
}

/// The toolchain's folder. The variable CARGO tells the path of cargo at no cost. Asking rustc would take tens of
/// milliseconds in every run.
fn sysroot() -> Result<PathBuf> {
    let beside_cargo = env::var_os("CARGO").map(PathBuf::from).and_then(|cargo| {
        let bin = cargo.parent()?;
        bin.join("rustc").exists().then(|| bin.parent().map(Path::to_owned))?
    });
    match beside_cargo {
        // rustup's folder of proxies is no toolchain, and has no `lib`.
        Some(sysroot) if sysroot.join("lib/rustlib").is_dir() => Ok(sysroot),
        _ => output_of_rustc(&["--print", "sysroot"]).map(PathBuf::from),
    }
}

/// The compiler's version, such as 1.95.0.
pub fn version() -> Result<String> {
    let found = output_of_rustc(&["--version"])?;
    match found.split(' ').nth(1) {
        Some(version) => Ok(version.into()),
        None => Err(format!("rustc calls itself `{found}`: install Rust with rustup")),
    }
}

fn output_of_rustc(arguments: &[&str]) -> Result<String> {
    let output = process::Command::new("rustc")
        .args(arguments)
        .output()
        .map_err(|error| format!("cannot ask rustc ({error}): install Rust with rustup"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).trim_end().into()),
        false => Err(format!("rustc does not say what it is ({}): install Rust with rustup", output.status)),
    }
}

/// Fetches Debian's package of the source with apt, which checks its signature. This needs no root and installs
/// nothing: all of apt's state is kept in a temporary folder.
fn fetch_from_debian(version: &str, into: &Path) -> Result<(), String> {
    let work = into.with_added_extension(format!("{}.tmp", process::id()));
    let result = fetch_in(&work, version).and_then(|()| {
        fs::rename(work.join("unpacked"), into).or_else(|error| {
            // Another process has fetched it first, and may be building with it.
            if is_library(&into.join("library")) { Ok(()) } else { Err(error.to_string()) }
        })
    });
    let _ = fs::remove_dir_all(&work);
    result
}

fn fetch_in(work: &Path, version: &str) -> Result<(), String> {
    let shell = Shell::new().map_err(|error| error.to_string())?;
    let said = |error: xshell::Error| error.to_string();
    // The mirror that apt uses on this machine.
    let format = "$(SITE)";
    let sites = cmd!(shell, "apt-get indextargets --format {format} 'Created-By: Packages'")
        .quiet()
        .ignore_stderr()
        .read()
        .map_err(|_| "there is no apt to fetch Debian's package with")?;
    let site = sites
        .lines()
        .find(|site| site.trim_end_matches('/').ends_with("/debian"))
        .ok_or("apt is not set up for Debian here")?;

    for folder in ["lists/partial", "cache/archives/partial", "unpacked"] {
        shell.create_dir(work.join(folder)).map_err(said)?;
    }
    let list = work.join("sources.list");
    shell
        .write_file(&list, format!("deb [signed-by={DEBIAN_KEYS}] {site} {DEBIAN_SUITE} main\n"))
        .map_err(said)?;
    let work_text = work.display();
    let options = [
        format!("Dir::Etc::sourcelist={}", list.display()),
        "Dir::Etc::sourceparts=/dev/null".into(),
        format!("Dir::State::lists={work_text}/lists"),
        format!("Dir::Cache={work_text}/cache"),
        "Acquire::Languages=none".into(),
        // As root, apt would download as another user, who may not write here.
        "APT::Sandbox::User=root".into(),
    ];
    let options: Vec<_> = options.iter().flat_map(|option| ["-o", option]).collect();
    let options = &options;
    // Without this mode, an unreachable mirror is only a warning.
    let update = cmd!(shell, "apt-get {options...} -o APT::Update::Error-Mode=any update");
    progress::while_it_takes(|| "Asking for Debian's packages".into(), || said_by_apt(update))?;
    let known = said_by_apt(cmd!(shell, "apt-cache {options...} show rust-src"))?;
    let (package, size) = newest_package(&known, version)
        .ok_or_else(|| format!("Debian's {DEBIAN_SUITE} no longer has that version"))?;
    let parent = work.parent().unwrap_or(work);
    let megabytes = size / 1_000_000;
    if !is_quiet() {
        caller::say(&format!(
            "fetching the standard library's source for Rust {version}: Debian's package rust-src, {megabytes} MB, into {}",
            parent.display()
        ));
    }
    shell.change_dir(work);
    let download = cmd!(shell, "apt-get {options...} download rust-src={package}");
    let how_far = || format!("Fetching rust-src: {} of {megabytes} MB", size_below(work) / 1_000_000);
    progress::while_it_takes(how_far, || said_by_apt(download))?;
    let deb = fs::read_dir(work)
        .map_err(|error| error.to_string())?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .ok_or("apt left no package")?;
    progress::while_it_takes(|| "Unpacking rust-src".into(), || unpack(&deb, &work.join("unpacked"), version))
}

/// The bytes of the files in a folder: those of a package that is being fetched.
fn size_below(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let files = entries.filter_map(|entry| entry.metadata().ok()).filter(|it| it.is_file());
    files.map(|file| file.len()).sum()
}

/// Runs apt. Returns its output, or an error with the last line of its standard error.
fn said_by_apt(command: xshell::Cmd) -> Result<String, String> {
    let output = command.quiet().ignore_status().output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(format!("apt says \"{}\"", complaints.trim_end().lines().last().unwrap_or("nothing")))
}

/// Unpacks only the library's folder of the package, as `library`.
fn unpack(deb: &Path, into: &Path, version: &str) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("cannot unpack the package ({error})");
    let mut data = process::Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(deb)
        .stdout(process::Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let status = process::Command::new("tar")
        .args(["--extract", "--strip-components=4", "--directory"])
        .arg(into)
        .arg(format!("./usr/src/rustc-{version}/library"))
        .stdin(data.stdout.take().expect("it is piped"))
        .status()
        .map_err(failed)?;
    let unpacked = data.wait().map_err(failed)?;
    if unpacked.success() && status.success() && is_library(&into.join("library")) {
        Ok(())
    } else {
        Err("the package does not unpack".into())
    }
}

/// The newest Debian build of this version of Rust, and the size of its package in bytes, from the output of
/// `apt-cache show`.
fn newest_package(known: &str, version: &str) -> Option<(String, u64)> {
    let field = |paragraph: &str, name: &str| {
        paragraph.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(": ")?.to_owned()))
    };
    // apt lists the newest first.
    known.split("\n\n").find_map(|paragraph| {
        let package = field(paragraph, "Version")?;
        let rest = package.strip_prefix(version)?;
        rest.starts_with(['+', '-']).then_some(())?;
        Some((package, field(paragraph, "Size")?.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_version_will_do() {
        let known = "Package: rust-src\nVersion: 1.96.1+dfsg1-2\nSize: 1\n\n\
                     Package: rust-src\nVersion: 1.95.0+dfsg1-2~bpo13+1\nSize: 45097356\n\n\
                     Package: rust-src\nVersion: 1.95.0+dfsg1-1~bpo13+1\nSize: 2\n";
        assert_eq!(newest_package(known, "1.95.0"), Some(("1.95.0+dfsg1-2~bpo13+1".into(), 45_097_356)));
        assert_eq!(newest_package(known, "1.96.1"), Some(("1.96.1+dfsg1-2".into(), 1)));
        assert_eq!(newest_package(known, "1.95"), None);
        assert_eq!(newest_package(known, "1.94.0"), None);
        assert_eq!(newest_package("", "1.95.0"), None);
    }
}
