//! `cargo flatland gdb`: runs a guest program and attaches gdb to it.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use std::{env, io, process, thread};

use crate::guest::{self, Profile};
use crate::host::{Place, Program, cannot_run};
use crate::metadata;
use crate::options::{GdbOptions, GdbReplayOptions};
use crate::package::Package;
use crate::{Context, Result, caller, run, signals};

/// Builds a guest program and flatland, and starts both flatland and gdb, which stops at the program's `main`. Ends this
/// process when both have ended, with gdb's status.
pub fn gdb(context: &Context, name: Option<&str>, profile: Profile, options: &GdbOptions) -> Result<()> {
    let debugger = find_gdb()?;
    // In guest/, the programs have the optimized profile of the runtime (guest/Cargo.toml). For gdb they are built
    // without optimization.
    let profile = match profile {
        Profile::Dev if context.package()?.has_runtime_beside => Profile::Debugger,
        profile => profile,
    };
    let built = run::build(context, name, profile)?;
    let folder = context.callers_folder();
    let socket = Socket::new()?;
    let mut machine = built.flatland.command();
    machine
        .arg(socket.option())
        .args(["--symbols".as_ref(), built.elf.as_os_str(), built.image.as_os_str()])
        .args(&options.flatland)
        .stdin(input(folder, options.input.as_deref())?);
    let output = output(context, folder, &built.name, options.output.as_deref())?;
    let session = Session::start(machine.stdout(output), socket, folder)?;
    let main = format!("tbreak {}::main", built.name.replace('-', "_"));
    let commands = [Ex(main), Script("main.gdb", MAIN), Script("begin.gdb", BEGIN)];
    session.attach(&debugger, Some(&built.elf), &commands, &options.gdb)
}

/// Builds flatland, and starts both the replay of a recording and gdb, which goes to its end. Ends this process when both
/// have ended, with gdb's status.
pub fn gdb_replay(context: &Context, options: &GdbReplayOptions) -> Result<()> {
    let debugger = find_gdb()?;
    let flatland = context.host().find(Program::Flatland)?;
    let folder = context.callers_folder();
    let elf = match &options.elf {
        Some(elf) => Some(folder.join(elf)),
        None => names_of(context, &flatland, folder, &options.recording)?,
    };
    let socket = Socket::new()?;
    let mut machine = flatland.command();
    machine
        .arg(socket.option())
        .arg("replay")
        .arg(&options.recording)
        .args(&options.elf)
        .args(&options.flatland)
        .stdin(Stdio::null());
    let output = output(context, folder, "replay", options.output.as_deref())?;
    let session = Session::start(machine.stdout(output), socket, folder)?;
    session.attach(&debugger, elf.as_deref(), &[Script("begin.gdb", BEGIN)], &options.gdb)
}

/// The ELF file that a recording names, if it is still what it was. A guest program that was built in another way since,
/// such as by `cargo flatland gdb NAME`, is built as it was. If all of that fails, says so, or flatland does.
fn names_of(context: &Context, flatland: &Place, folder: &Path, recording: &Path) -> Result<Option<PathBuf>> {
    let mut info = Info::of(flatland, folder, recording)?;
    if info.names.is_none()
        && let Some(program) = info.program.as_deref()
        && let Some(program) = context.package().ok().and_then(|package| guest_program(package, program))
    {
        // The last one is what there was, or what `cargo flatland run` makes.
        for profile in [Profile::Release, Profile::Debugger, Profile::Dev] {
            // The compiler has printed the reason.
            if guest::build(context, &[program], profile).is_err() {
                break;
            }
            info = Info::of(flatland, folder, recording)?;
            if info.names.is_some() {
                break;
            }
        }
    }
    if let Info { program: Some(program), names: None } = &info
        && !program.exists()
    {
        caller::say(&format!(
            "gdb has no names, because the program is no longer at {}: build it again as it was, or give a copy of its ELF \
             file, `{} gdb --replay FILE ELF`",
            program.display(),
            caller::cargo()
        ));
    }
    Ok(info.names)
}

/// The guest program with this ELF file, if it is one of this crate's.
fn guest_program<'a>(package: &'a Package, elf: &Path) -> Option<&'a metadata::Program> {
    let images = fs::canonicalize(&package.images).ok()?;
    package.programs.iter().find(|program| images.join(format!("{}.elf", program.name)) == elf)
}

/// What `flatland info` says of a recording.
struct Info {
    /// Where the program was.
    program: Option<PathBuf>,
    /// The same, if its ELF file is still what it was.
    names: Option<PathBuf>,
}

impl Info {
    fn of(flatland: &Place, folder: &Path, recording: &Path) -> Result<Self> {
        let mut info = flatland.command();
        info.arg("info").arg(recording).current_dir(folder).stderr(Stdio::inherit());
        let output = info.output().map_err(|error| cannot_run(&info, &error))?;
        if !output.status.success() {
            // flatland has printed the reason.
            process::exit(code(output.status));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let path = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name))?;
            // Otherwise it is a word, such as "none".
            Some(PathBuf::from(value)).filter(|path| path.is_absolute())
        };
        Ok(Self { program: path("program: "), names: path("names: ") })
    }
}

/// Where the session begins, for gdb: if there is no `main`, because the compiler has inlined it, stop at its caller.
const MAIN: &str = include_str!("gdb/main.gdb");

/// Defines commands for the past, which gdb has none for.
const BEGIN: &str = include_str!("gdb/begin.gdb");

/// Commands for gdb before the guest runs.
enum Commands {
    Ex(String),
    /// A script's name and text.
    Script(&'static str, &'static str),
}

use Commands::{Ex, Script};

/// flatland, which waits for gdb.
struct Session {
    machine: Child,
    socket: Socket,
    folder: PathBuf,
}

impl Session {
    /// Starts flatland in this folder, with [`Socket::option`] among its arguments.
    fn start(command: &mut Command, socket: Socket, folder: &Path) -> Result<Self> {
        command
            .current_dir(folder)
            // A process group of its own, so that Ctrl-C at the terminal goes only to gdb, which interrupts the guest.
            .process_group(0);
        let mut machine = command.spawn().map_err(|error| cannot_run(command, &error))?;
        if let Some(status) = wait_for(&socket.path, &mut machine)? {
            // flatland has printed the reason.
            drop(socket);
            process::exit(code(status));
        }
        Ok(Self { machine, socket, folder: folder.into() })
    }

    /// Runs gdb with the names of an ELF file, waits for both, and ends this process. After these commands the guest runs.
    fn attach(
        mut self,
        debugger: &Path,
        elf: Option<&Path>,
        commands: &[Commands],
        options: &[OsString],
    ) -> Result<()> {
        let mut command = Command::new(debugger);
        command.arg("-quiet").current_dir(&self.folder);
        // If a function does not exist, do not ask whether to set a pending breakpoint. Read all symbols: otherwise gdb
        // does not find functions that exist only inlined, as `main` mostly does.
        let begin =
            ["set pagination off", "set breakpoint pending off", "maint expand-symtabs"].map(String::from);
        let connect = format!("target remote {}", self.socket.path.display());
        for line in begin.iter().chain([&connect]) {
            command.args(["-ex", line]);
        }
        for commands in commands {
            match commands {
                Ex(line) => command.args(["-ex", line]),
                Script(name, text) => command.arg("-x").arg(self.socket.write(name, text)?),
            };
        }
        let end = ["continue", "set breakpoint pending auto", "set pagination on"].map(String::from);
        // Nobody is to connect when gdb is gone.
        let clean_up = format!("shell rm -r '{}'", self.socket.folder().display());
        for line in [&clean_up].into_iter().chain(&end) {
            command.args(["-ex", line]);
        }
        let gone = |error| format!("cannot run {} ({error}): install gdb again", debugger.display());
        let mut gdb = match command.args(options).args(elf).spawn() {
            Ok(gdb) => gdb,
            Err(error) => {
                let _ = self.machine.kill();
                return Err(gone(error));
            }
        };
        signals::pass_to(&gdb, true);
        let status = gdb.wait().map_err(gone)?;
        drop(self.socket);
        signals::pass_to(&self.machine, false);
        wait_for_end(&mut self.machine)?;
        process::exit(code(status))
    }
}

/// A status as a shell has it.
fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
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

    /// flatland's option.
    fn option(&self) -> String {
        format!("--gdb=unix:{}", self.path.display())
    }

    fn folder(&self) -> &Path {
        self.path.parent().expect("it lies in a folder")
    }

    /// Writes a script for gdb beside the socket.
    fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.folder().join(name);
        match fs::write(&path, text) {
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

/// Waits until flatland has written its last line.
fn wait_for_end(machine: &mut Child) -> Result<()> {
    const SOON: Duration = Duration::from_secs(1);
    let lost = |error| format!("flatland is lost ({error}): try again");
    let start = Instant::now();
    while machine.try_wait().map_err(lost)?.is_none() {
        if start.elapsed() >= SOON {
            caller::say("the guest goes on without gdb: Ctrl-C ends it");
            return machine.wait().map(drop).map_err(lost);
        }
        thread::sleep(Duration::from_millis(2));
    }
    Ok(())
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
    let open = || -> io::Result<File> {
        let file = File::open(folder.join(path))?;
        // A folder can be opened, too, but not read.
        if file.metadata()?.is_dir() { Err(io::ErrorKind::IsADirectory.into()) } else { Ok(file) }
    };
    open()
        .map(Stdio::from)
        .map_err(|error| format!("cannot read --input `{}` ({error}): check the path", path.display()))
}

/// Opens the file or terminal for the guest's output. The current terminal is gdb's.
fn output(context: &Context, folder: &Path, name: &str, path: Option<&Path>) -> Result<Stdio> {
    let (path, is_ours) = match path {
        Some(path) => (folder.join(path), false),
        None => (context.images().join(format!("{name}.output")), true),
    };
    if is_ours && let Some(folder) = path.parent() {
        // Without a guest program there is none. Where it cannot be made, nor can the file.
        let _ = fs::create_dir_all(folder);
    }
    let file = OpenOptions::new().write(true).create(true).truncate(true).open(&path).map_err(|error| {
        format!("cannot write the guest's output to {} ({error}): choose --output FILE", path.display())
    })?;
    if is_ours {
        caller::say(&format!(
            "the guest's output goes to {}: --output chooses another file, or another terminal, as `tty` names it there",
            context.show(&path)
        ));
    }
    Ok(file.into())
}
