//! Tests the packages that are published, as somebody gets them who has no checkout: everything is installed from them, in
//! an empty home and with the checkout hidden. `cargo xtask package --check` runs it.

#[path = "common/mod.rs"]
mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;
use std::{env, fs, process};

use common::{root, succeed, target, text, xtask};

/// Somebody's machine: a home, and what stands for the registry.
struct Elsewhere {
    folder: PathBuf,
}

impl Elsewhere {
    /// An empty home beside the packages, outside of the checkout.
    fn new() -> Self {
        let folder = env::temp_dir().join(format!("flatland-packages-{}", process::id()));
        fs::create_dir_all(folder.join("home/.cargo"))
            .expect("the folder for temporary files can be written");
        let source = folder.join("registry");
        succeed(Command::new("cp").arg("-r").arg(target().join("package/source")).arg(&source));
        let settings = format!(
            "[source.crates-io]\nreplace-with = \"packed\"\n\n[source.packed]\ndirectory = {:?}\n",
            source.display().to_string()
        );
        fs::write(folder.join("home/.cargo/config.toml"), settings).expect("it was just made");
        Self { folder }
    }

    /// Runs this line of bash in a folder of the home. The checkout and the target folder are empty folders there.
    fn says(&self, folder: &str, line: &str) -> String {
        let home = self.folder.join("home");
        let hidden = [root(), target()].map(|path| path.display().to_string());
        let script =
            format!("mount -t tmpfs none '{}' && mount -t tmpfs none '{}' && {line}", hidden[1], hidden[0]);
        let rustup = env::var_os("RUSTUP_HOME")
            .unwrap_or_else(|| Path::new(&env::var_os("HOME").unwrap_or_default()).join(".rustup").into());
        let path = format!("{}/.cargo/bin:{}", home.display(), env::var("PATH").unwrap_or_default());
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "bash", "-c", &script]).stdin(Stdio::null());
        for (name, _) in env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if name.starts_with("CARGO") || name.starts_with("FLATLAND") || name.starts_with("RUST") {
                command.env_remove(name);
            }
        }
        command.env("HOME", &home).env("RUSTUP_HOME", rustup).env("PATH", path).env_remove("XDG_CACHE_HOME");
        // rustup has the tests' toolchain by its name, where it is rustup's.
        if let Some(toolchain) = env::var_os("RUSTUP_TOOLCHAIN") {
            command.env("RUSTUP_TOOLCHAIN", toolchain);
        }
        let begin = Instant::now();
        let output = succeed(command.current_dir(home.join(folder)));
        println!("{:6.1} s  {line}", begin.elapsed().as_secs_f64());
        text(&output.stdout)
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[test]
#[ignore = "it builds everything anew: `cargo xtask package --check` runs it"]
fn who_has_only_the_packages_makes_runs_tests_and_debugs_a_guest() {
    succeed(&mut xtask(["package"]));
    let there = Elsewhere::new();
    there.says("", "cargo install --quiet cargo-flatland");
    let made = there.says("", "cargo flatland new hello");
    assert!(made.contains("; now:\n  cd hello\n  cargo flatland run hello "), "{made}");
    assert_eq!(there.says("hello", "cargo flatland run"), "Hello from hello!\n");

    let source = there.folder.join("home/hello/src/bin/hello.rs");
    let program = fs::read_to_string(&source).expect("it was made");
    fs::write(&source, program.replace("Hello from", "Good morning from")).expect("it can be changed");
    assert_eq!(there.says("hello", "cargo flatland run"), "Good morning from hello!\n");

    let tests = there.says("hello", "cargo flatland test");
    assert!(tests.contains("test hello::tests::the_greeting_is_friendly ... ok\n"), "{tests}");
    let session = there.says("hello", "cargo flatland gdb hello --batch");
    assert!(session.contains("hello::main () at src/bin/hello.rs:11\n"), "{session}");
}
