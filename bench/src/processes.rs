//! Programs that are run and timed.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::Result;

/// Compiles one of the C monitors.
pub fn compile(source: &Path, program: &Path, options: &[&str]) -> Result<()> {
    succeed(Command::new("cc").args(["-O2", "-Wall", "-o"]).arg(program).arg(source).args(options)).map_err(
        |error| format!("{error}; the C monitors need gcc, libc6-dev and the kernel's headers").into(),
    )
}

/// Runs a command that must end well, and shows what it said if it does not.
pub fn succeed(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?} failed:\n{}", String::from_utf8_lossy(&output.stderr)).into())
}

/// From before the start of the process to after its end, in seconds.
pub fn time(command: &mut Command) -> Result<f64> {
    let start = Instant::now();
    // Whatever it says is thrown away: a pipe to read would be work of ours.
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status()?;
    let time = start.elapsed().as_secs_f64();
    if status.success() { Ok(time) } else { Err(format!("{command:?}: {status}").into()) }
}

/// From before the start of the process to its first byte of output, or to the end of it, in seconds.
pub fn time_to_first_byte(command: &mut Command) -> Result<f64> {
    let start = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut output = child.stdout.take().ok_or("it is piped")?;
    let _ = output.read(&mut [0])?;
    let time = start.elapsed().as_secs_f64();
    end(child, command)?;
    Ok(time)
}

/// Feeds a process through a pipe and reads its answers through another one; the time to its end, in seconds. The answers
/// must be these.
pub fn time_to_answer(command: &mut Command, input: &[u8], answers: &[u8]) -> Result<f64> {
    let start = Instant::now();
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let (mut stdin, mut stdout) = (stdin.ok_or("it is piped")?, stdout.ok_or("it is piped")?);
    let mut got = Vec::with_capacity(answers.len() + 1);
    thread::scope(|scope| -> Result<()> {
        // Dropped with the thread, and so closed: the end of input.
        let feeder = scope.spawn(move || stdin.write_all(input));
        stdout.read_to_end(&mut got)?;
        Ok(feeder.join().map_err(|_| "the thread that feeds it failed")??)
    })?;
    end(child, command)?;
    let time = start.elapsed().as_secs_f64();
    if got == answers { Ok(time) } else { Err(format!("{command:?} answers otherwise").into()) }
}

fn end(mut child: Child, command: &Command) -> Result<()> {
    let status = child.wait()?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}").into()) }
}

/// VmHWM (proc(5)), the most memory that was resident, while the process waits for input, in KiB.
pub fn resident(command: &mut Command) -> Result<f64> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    // Long past the start: nothing but the wait for input is left to do.
    thread::sleep(Duration::from_millis(200));
    let status = fs::read_to_string(format!("/proc/{}/status", child.id()))?;
    drop(child.stdin.take());
    end(child, command)?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM in its status")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// How many system calls the first thread of a process makes, as strace(1) counts them, while it reads this input.
pub fn system_calls(program: &Path, image: &Path, input: &[u8], log: &Path) -> Result<f64> {
    let mut child = Command::new("strace")
        .args(["--summary-only", "--summary-columns=calls,name", "-o"])
        .args([log, program, image])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .map_err(|error| format!("strace is not installed ({error})"))?;
    child.stdin.take().ok_or("it is piped")?.write_all(input)?;
    if !child.wait()?.success() {
        return Err("strace cannot trace here".into());
    }
    let summary = fs::read_to_string(log)?;
    let total = summary.lines().find_map(|line| line.trim().strip_suffix(" total"));
    Ok(total.ok_or("strace gives no total")?.parse()?)
}
