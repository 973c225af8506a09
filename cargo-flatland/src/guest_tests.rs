//! `cargo flatland test`, and what runs the programs that a plain cargo has built (`exec`).

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use crate::guest::Profile;
use crate::host::{Program, become_it};
use crate::options::GuestTests;
use crate::target::Target;
use crate::{Context, Result, caller, guest};

/// Builds the guest's tests, and returns the command that runs them.
pub fn prepare(context: &Context, asked: &GuestTests) -> Result<Command> {
    // Both builds run at once: if there is nothing to do, they take as long as one.
    let host = context.host();
    let (runner, tests) = thread::scope(|scope| {
        let runner = scope.spawn(|| host.find(Program::Test));
        let profile = if asked.covers() { Profile::Coverage } else { Profile::Dev };
        let tests = guest::build_tests(context, asked.filter.as_deref(), profile);
        (runner.join(), tests)
    });
    let tests = tests?;
    let runner = runner.map_err(|_| "this program itself failed: report it")??;
    let mut command = runner.command();
    leave_recordings(context, &context.package()?.images, &mut command);
    command.args(&asked.machine).args(tests).arg("--").args(&asked.filter).args(&asked.libtest);
    Ok(command)
}

/// Builds the guest's tests, and replaces this process by their runner.
pub fn run(context: &Context, asked: &GuestTests) -> Result<()> {
    let mut asked = asked.clone();
    // A filter that matches no test is an error.
    asked.machine.extend(["--some".into(), caller::test().into()]);
    become_it(prepare(context, &asked)?)
}

/// Runs a program that cargo has built, in place of this process: by flatland, or by flatland-test if it is a test
/// program. See guest/.cargo/config.toml.
pub fn exec(context: &Context, built: &Path, arguments: &[OsString]) -> Result<()> {
    let built = &context.callers_folder().join(built);
    let images = images_beside(built);
    let (is_test, profile) = kind_of(built);
    let mut command;
    if is_test {
        let elf = guest::test_image(&images, built, profile)?;
        command = context.host().find(Program::Test)?.command();
        leave_recordings(context, &images, &mut command);
        command.arg(elf).arg("--").args(arguments);
    } else {
        let name = built.file_name().unwrap_or("program".as_ref());
        let elf = images.join(name).with_added_extension("elf");
        let image = elf.with_extension("bin");
        fs::create_dir_all(&images)
            .map_err(|error| format!("cannot make {} ({error}): make room", images.display()))?;
        guest::write_image(built, &elf, &image, profile)?;
        command = context.host().find(Program::Flatland)?.command();
        command.arg("--symbols").arg(elf).arg(image).arg("--").args(arguments);
    }
    // What the guest was built with is nothing for the programs that run it.
    command.env_remove("RUSTC_BOOTSTRAP");
    become_it(command)
}

/// Whether a program that cargo has built is one of tests, and its profile. Programs to run, and nothing else, are put into
/// TARGET/i686-bare/PROFILE (or that of the other target) and `examples` there; where the others are depends on cargo's version.
fn kind_of(built: &Path) -> (bool, Profile) {
    let mut folders = built.ancestors().skip(1);
    let is_profiles = |folder: &&Path| folder.parent().is_some_and(is_targets);
    let Some(folder) = folders.find(is_profiles) else { return (false, Profile::Dev) };
    let profile = if folder.ends_with("release") { Profile::Release } else { Profile::Dev };
    let place = built.parent().filter(|place| *place != folder && *place != folder.join("examples"));
    (place.is_some(), profile)
}

/// The folder of images for a program that cargo has built in TARGET/i686-bare: TARGET/guest, or TARGET/.. if that is
/// the folder in which the commands build.
fn images_beside(built: &Path) -> PathBuf {
    let target = built.ancestors().find(|folder| is_targets(folder)).and_then(Path::parent);
    match target {
        Some(target) if target.ends_with("guest/cargo") => target.with_file_name(""),
        Some(target) => target.join("guest"),
        None => built.with_file_name("guest"),
    }
}

/// Whether this is cargo's folder for a target of guests.
fn is_targets(folder: &Path) -> bool {
    Target::ALL.iter().any(|target| folder.ends_with(target.name()))
}

/// Tests that fail leave recordings in `target/guest/failures`. The runner names them as they can be typed where the
/// caller stands.
fn leave_recordings(context: &Context, images: &Path, command: &mut Command) {
    let (folder, here) = (images.join("failures"), context.callers_folder());
    let shown = folder.strip_prefix(here).unwrap_or(&folder);
    command.current_dir(here).arg("--failures").arg(shown);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_of_tests_are_told_from_others() {
        use Profile::{Dev, Release};
        for (built, expected) in [
            ("/a/target/i686-bare/debug/hello", (false, Dev)),
            ("/a/target/i686-bare/release/hello", (false, Release)),
            ("/a/target/i686-bare/debug/examples/hello", (false, Dev)),
            ("/a/target/i686-bare/debug/deps/hello-12", (true, Dev)),
            ("/a/target/i686-bare-sse2/release/deps/hello-12", (true, Release)),
            ("/a/target/i686-bare/release/build/hello/12/out/hello-12", (true, Release)),
            ("/a/hello", (false, Dev)),
        ] {
            assert_eq!(kind_of(Path::new(built)), expected, "{built}");
        }
    }

    #[test]
    fn images_of_a_plain_cargo_are_where_the_others_are() {
        for (built, expected) in [
            ("/a/target/i686-bare/debug/hello", "/a/target/guest"),
            ("/a/target/i686-bare/debug/deps/hello-12", "/a/target/guest"),
            ("/a/target/guest/cargo/i686-bare/release/hello", "/a/target/guest"),
            ("/a/hello", "/a/guest"),
        ] {
            assert_eq!(images_beside(Path::new(built)), Path::new(expected), "{built}");
        }
    }
}
