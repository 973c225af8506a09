//! `cargo xtask gdb`: runs a guest program and attaches gdb to it.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;
use std::{env, process, thread};

use crate::guest::Profile;
use crate::run::{self, Built};
use crate::{Result, Workspace};

/// The options of `cargo xtask gdb`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The file with the guest's input; /dev/null if `None`.
    pub input: Option<PathBuf>,
    /// The file or terminal for the guest's output; target/guest/NAME.output if `None`.
    pub output: Option<PathBuf>,
    /// gdb's own options: `--batch` and `-x FILE`.
    pub gdb: Vec<OsString>,
    /// Options of `flatland`.
    pub flatland: Vec<OsString>,
}

/// Builds a guest program and flatland, starts flatland, and replaces this process by gdb, which stops at the
/// program's `main`.
pub fn gdb(workspace: &Workspace, name: Option<&str>, profile: Profile, options: &Options) -> Result<()> {
    let debugger = find_gdb()?;
    // In guest/, the programs have the optimized profile of the runtime (guest/Cargo.toml). For gdb they are built
    // without optimization.
    let profile = match profile {
        Profile::Dev if !workspace.is_elsewhere() => Profile::Debugger,
        profile => profile,
    };
    let built = run::build(workspace, name, profile)?;
    let folder = workspace.callers_folder();
    let socket = Socket::new()?;
    let mut machine = Command::new(&built.flatland);
    machine
        .arg(format!("--gdb=unix:{}", socket.path.display()))
        .args(["--symbols".as_ref(), built.elf.as_os_str(), built.image.as_os_str()])
        .args(&options.flatland)
        .current_dir(&folder)
        .stdin(input(&folder, options.input.as_deref())?)
        .stdout(output(workspace, &folder, &built, options.output.as_deref())?)
        // A process group of its own, so that Ctrl-C at the terminal goes only to gdb, which interrupts the guest.
        .process_group(0);
    let mut machine = machine.spawn().map_err(|error| {
        format!("cannot run {} ({error}): remove it and build again", built.flatland.display())
    })?;
    if let Some(status) = wait_for(&socket.path, &mut machine)? {
        // flatland has printed the reason.
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        drop(socket);
        process::exit(code);
    }
    let mut command = Command::new(&debugger);
    command.arg("-quiet").current_dir(&folder);
    // If a function does not exist, do not ask whether to set a pending breakpoint. Read all symbols: otherwise gdb
    // does not find functions that exist only inlined, as `main` mostly does.
    let begin =
        ["set pagination off", "set breakpoint pending off", "maint expand-symtabs"].map(String::from);
    let connect = format!("target remote {}", socket.path.display());
    let main = format!("tbreak {}::main", built.name.replace('-', "_"));
    for line in begin.iter().chain([&connect, &main]) {
        command.args(["-ex", line]);
    }
    command.arg("-x").arg(socket.write_script()?);
    let end = ["continue", "set breakpoint pending auto", "set pagination on"].map(String::from);
    // gdb removes the socket's folder, because it replaces this process.
    let clean_up = format!("shell rm -r '{}'", socket.folder().display());
    for line in [&clean_up].into_iter().chain(&end) {
        command.args(["-ex", line]);
    }
    let error = command.args(&options.gdb).arg(&built.elf).exec();
    let _ = machine.kill();
    Err(format!("cannot run {} ({error}): install gdb again", debugger.display()))
}

/// Finds the debugger: the one that the variable GDB names, or `gdb`.
fn find_gdb() -> Result<PathBuf> {
    let name = env::var_os("GDB").unwrap_or_else(|| "gdb".into());
    match Command::new(&name).arg("--version").stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => Ok(name.into()),
        _ => Err(format!(
            "there is no `{}`: install it with `apt install gdb` or `dnf install gdb`, or name another one in the \
             variable GDB",
            Path::new(&name).display()
        )),
    }
}

/// A socket in a folder of its own, which other users cannot enter.
struct Socket {
    path: PathBuf,
}

impl Socket {
    fn new() -> Result<Self> {
        let folder = env::temp_dir().join(format!("flatland-gdb-{}", process::id()));
        // Remove what an earlier process with the same ID has left behind.
        let _ = fs::remove_dir_all(&folder);
        fs::DirBuilder::new().mode(0o700).create(&folder).map_err(|error| {
            format!("cannot make {} ({error}): name a folder for it in the variable TMPDIR", folder.display())
        })?;
        Ok(Self { path: folder.join("socket") })
    }

    fn folder(&self) -> &Path {
        self.path.parent().expect("it lies in a folder")
    }

    /// Writes a script for gdb: if there is no `main`, because the compiler has inlined it, stop at its caller. Then
    /// commands for the past, which gdb has none for.
    fn write_script(&self) -> Result<PathBuf> {
        const SCRIPT: &str = include_str!("gdb/begin.gdb");
        let path = self.folder().join("main.gdb");
        match fs::write(&path, SCRIPT) {
            Ok(()) => Ok(path),
            Err(error) => Err(format!("cannot write {} ({error}): make room", path.display())),
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.folder());
    }
}

/// Waits until flatland listens on the socket. Returns its exit status if it ends instead.
fn wait_for(socket: &Path, machine: &mut Child) -> Result<Option<ExitStatus>> {
    loop {
        if socket.exists() {
            return Ok(None);
        }
        match machine.try_wait() {
            Ok(None) => thread::sleep(Duration::from_millis(2)),
            Ok(status) => return Ok(status),
            Err(error) => return Err(format!("flatland is lost ({error}): try again")),
        }
    }
}

fn input(folder: &Path, path: Option<&Path>) -> Result<Stdio> {
    let Some(path) = path else { return Ok(Stdio::null()) };
    let file = File::open(folder.join(path));
    file.map(Stdio::from)
        .map_err(|error| format!("cannot read --input `{}` ({error}): check the path", path.display()))
}

/// Opens the file or terminal for the guest's output. The current terminal is gdb's.
fn output(workspace: &Workspace, folder: &Path, built: &Built, path: Option<&Path>) -> Result<Stdio> {
    let (path, is_ours) = match path {
        Some(path) => (folder.join(path), false),
        None => (built.image.with_extension("output"), true),
    };
    let file = OpenOptions::new().write(true).create(true).truncate(true).open(&path).map_err(|error| {
        format!("cannot write the guest's output to {} ({error}): choose --output FILE", path.display())
    })?;
    if is_ours {
        eprintln!(
            "xtask: the guest's output goes to {}: --output chooses another file, or another terminal, as `tty` names it \
             there",
            workspace.show(&path)
        );
    }
    Ok(file.into())
}
