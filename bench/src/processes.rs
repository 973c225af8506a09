//! Runs programs and measures their time, memory and system calls.

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

/// Runs a command. If it fails, the error has what it wrote to standard error.
pub fn succeed(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?} failed:\n{}", String::from_utf8_lossy(&output.stderr)).into())
}

/// Checks that this other flatland runs at all.
pub fn check_other(flatland: &Path) -> Result<()> {
    succeed(Command::new(flatland).arg("--version")).map_err(|_| {
        let name = flatland.display();
        format!("--against `{name}` does not run: give the program of another build, such as target/release/flatland").into()
    })
}

/// The time from before the start of a process until after its end, in seconds.
pub fn time(command: &mut Command) -> Result<f64> {
    let start = Instant::now();
    // Discard the output: reading a pipe would add work of this process.
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status()?;
    let time = start.elapsed().as_secs_f64();
    if status.success() { Ok(time) } else { Err(format!("{command:?}: {status}").into()) }
}

/// The time from before the start of a process until its first byte of output, or the end of output, in seconds.
pub fn time_to_first_byte(command: &mut Command) -> Result<f64> {
    let start = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut output = child.stdout.take().ok_or("it is piped")?;
    let _ = output.read(&mut [0])?;
    let time = start.elapsed().as_secs_f64();
    end(child, command)?;
    Ok(time)
}

/// Feeds a process through a pipe and reads its answers through another one. Returns the time until its end, in
/// seconds. Fails if the answers are others than these.
pub fn time_to_answer(command: &mut Command, input: &[u8], answers: &[u8]) -> Result<f64> {
    let start = Instant::now();
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let (mut stdin, mut stdout) = (stdin.ok_or("it is piped")?, stdout.ok_or("it is piped")?);
    let mut got = Vec::with_capacity(answers.len() + 1);
    let fed = thread::scope(|scope| -> Result<()> {
        // The thread drops `stdin` at its end, which closes the pipe: the end of input.
        let feeder = scope.spawn(move || stdin.write_all(input));
        stdout.read_to_end(&mut got)?;
        Ok(feeder.join().map_err(|_| "the thread that feeds it failed")??)
    });
    // How it ended says more than that it did not read.
    end(child, command)?;
    fed?;
    let time = start.elapsed().as_secs_f64();
    if got == answers { Ok(time) } else { Err(format!("{command:?} answers otherwise").into()) }
}

fn end(mut child: Child, command: &Command) -> Result<()> {
    let status = child.wait()?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}").into()) }
}

/// The peak of resident memory (VmHWM, proc(5)) of a process that waits for input, in KiB.
pub fn resident(command: &mut Command) -> Result<f64> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    // After this time the process has started, and only waits for input.
    thread::sleep(Duration::from_millis(200));
    let status = fs::read_to_string(format!("/proc/{}/status", child.id()))?;
    drop(child.stdin.take());
    end(child, command)?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM in its status")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// The number of system calls that the first thread of a process makes while it reads this input, as strace(1) counts
/// them.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_flatland_has_to_run() {
        for wrong in ["/", "/no/such/flatland", "/bin/false"] {
            let message = format!(
                "--against `{wrong}` does not run: give the program of another build, such as target/release/flatland"
            );
            assert_eq!(check_other(Path::new(wrong)).unwrap_err().to_string(), message);
        }
    }
}
