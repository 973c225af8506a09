//! `cargo xtask gdb`: a guest program on the machine, and gdb at it.

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

/// What `cargo xtask gdb` is asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Where the guest's input comes from.
    pub input: Option<PathBuf>,
    /// Where its output goes.
    pub output: Option<PathBuf>,
    /// What is for gdb itself: `--batch` and `-x FILE`.
    pub gdb: Vec<OsString>,
    /// What is for `flatland`.
    pub flatland: Vec<OsString>,
}

/// Builds a guest program and the machine, starts it, and becomes gdb, which is at the program's `main` then.
pub fn gdb(workspace: &Workspace, name: Option<&str>, profile: Profile, options: &Options) -> Result<()> {
    let debugger = find_gdb()?;
    // In guest/ the runtime, which is optimized, has the same profile as the programs (guest/Cargo.toml).
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
        // Ctrl-C is for gdb, which interrupts the guest.
        .process_group(0);
    let mut machine = machine.spawn().map_err(|error| {
        format!("cannot run {} ({error}): remove it and build again", built.flatland.display())
    })?;
    if let Some(status) = wait_for(&socket.path, &mut machine)? {
        // It has said why.
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        drop(socket);
        process::exit(code);
    }
    let mut command = Command::new(&debugger);
    command.arg("-quiet").current_dir(&folder);
    // A function that is not there is no question to be asked. And gdb finds those that exist inlined only, as `main`
    // mostly does, when it has read all there is.
    let begin =
        ["set pagination off", "set breakpoint pending off", "maint expand-symtabs"].map(String::from);
    let connect = format!("target remote {}", socket.path.display());
    let main = format!("tbreak {}::main", built.name.replace('-', "_"));
    for line in begin.iter().chain([&connect, &main]) {
        command.args(["-ex", line]);
    }
    command.arg("-x").arg(socket.write_script()?);
    let end = ["continue", "set breakpoint pending auto", "set pagination on"].map(String::from);
    // Nobody else is left to do it.
    let clean_up = format!("shell rm -r '{}'", socket.folder().display());
    for line in [&clean_up].into_iter().chain(&end) {
        command.args(["-ex", line]);
    }
    let error = command.args(&options.gdb).arg(&built.elf).exec();
    let _ = machine.kill();
    Err(format!("cannot run {} ({error}): install gdb again", debugger.display()))
}

/// The debugger: the one that the variable GDB names, or `gdb`.
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

/// A socket that nobody else can reach, in a folder of its own.
struct Socket {
    path: PathBuf,
}

impl Socket {
    fn new() -> Result<Self> {
        let folder = env::temp_dir().join(format!("flatland-gdb-{}", process::id()));
        // What a process of the same number has left behind.
        let _ = fs::remove_dir_all(&folder);
        fs::DirBuilder::new().mode(0o700).create(&folder).map_err(|error| {
            format!("cannot make {} ({error}): name a folder for it in the variable TMPDIR", folder.display())
        })?;
        Ok(Self { path: folder.join("socket") })
    }

    fn folder(&self) -> &Path {
        self.path.parent().expect("it lies in a folder")
    }

    /// Where the compiler has left no `main`, as it is a part of its caller, that one is stopped at.
    fn write_script(&self) -> Result<PathBuf> {
        const SCRIPT: &str = "if $_isvoid($bpnum)\n  tbreak __flatland_main\nend\n";
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

/// Waits until the machine can be connected to. Its status, if it ends instead.
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

/// A file, or another terminal. gdb has this one.
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
