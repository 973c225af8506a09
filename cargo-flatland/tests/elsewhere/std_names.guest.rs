//! Uses the parts of std that the runtime has, under std's names. The test compiles it for this machine, where the
//! names are std's, and for the guest, where they are the runtime's.

use std::env;
use std::fmt;
use std::io::prelude::*;
use std::io::{self, BufReader, BufWriter, ErrorKind, Stdin, StdinLock, Stdout};
use std::process::{self, ExitCode, Termination};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

#[derive(Debug)]
enum Error {
    Io(io::Error),
    Usage(&'static str),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io(error) => write!(f, "cannot read ({error})"),
            Error::Usage(what) => f.write_str(what),
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Error::Io(error)
    }
}

fn shout<R: BufRead, W: Write>(input: R, mut output: W) -> io::Result<usize> {
    let mut count = 0;
    for line in input.lines().take(2) {
        writeln!(output, "{}!", line?.to_uppercase())?;
        count += 1;
    }
    output.flush()?;
    Ok(count)
}

fn report(result: io::Result<usize>) -> String {
    match result {
        Ok(count) => format!("{count} ok"),
        Err(error) if error.kind() == ErrorKind::InvalidData => format!("{error}, {error:?}"),
        Err(error) => error.to_string(),
    }
}

fn run() -> Result<(), Error> {
    let arguments: Vec<String> = env::args().collect();
    println!("{} arguments: {:?}", arguments.len(), &arguments[1..]);
    let how = env::args().nth(1).ok_or(Error::Usage("say how"))?;
    match how.as_str() {
        "exit" => {
            let code: i32 = 300;
            process::exit(code)
        }
        "abort" => process::abort(),
        "read" => {}
        _ => return Err(Error::Usage("exit, abort or read")),
    }

    let stdin: Stdin = io::stdin();
    let mut first = String::new();
    println!("{} {first:?}", stdin.read_line(&mut first)?);
    let mut lock: StdinLock<'static> = io::stdin().lock();
    println!("{} {}", report(lock.read_line(&mut first)), first.trim_end());
    println!("{}", shout(&mut lock, io::stdout().lock())?);
    drop(lock);
    println!("{}", shout(BufReader::new(io::stdin().take(4)), BufWriter::new(io::stdout()))?);
    let mut exact = [0; 3];
    io::stdin().read_exact(&mut exact)?;
    let mut rest = String::new();
    println!("{exact:?} {}", report(io::stdin().read_to_string(&mut rest)));
    println!("{rest:?} {:?}", io::stdin().lock().fill_buf()?);
    println!("{}", report(io::stdin().read_exact(&mut exact).map(|()| 0)));

    let stdout: Stdout = io::stdout();
    (&stdout).write_all(b"by reference\n")?;
    let mut bytes = Vec::new();
    write!(bytes, "{:>5}", 42)?;
    io::copy(&mut &bytes[..], &mut io::stdout())?;
    println!();

    let start = Instant::now();
    assert!(start.elapsed() < Duration::from_secs(60));
    assert!(SystemTime::now().duration_since(UNIX_EPOCH).is_ok_and(|since| since.as_secs() > 1_700_000_000));
    Ok(())
}

fn main() -> impl Termination {
    match run() {
        Ok(()) => ExitCode::from(7),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
