//! The connection to the debugger.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
#[cfg(unix)]
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use super::{Address, Say};

/// The longest time without a look at the signals that end programs.
const PATIENCE: Duration = Duration::from_millis(50);

/// A wait that somebody wonders about.
const LONG: Duration = Duration::from_secs(2);

/// How long a debugger may take to read an answer.
const LONGEST_WRITE: Duration = Duration::from_secs(5);

/// Where a debugger can connect.
#[derive(Debug)]
pub enum Listener {
    /// With the time at which a person is told where it listens, unless that is done.
    Tcp(TcpListener, Option<Instant>),
    #[cfg(unix)]
    Unix(UnixListener, RemovedAtTheEnd, Option<Instant>),
}

/// A socket in the file system, which outlives its process otherwise.
#[derive(Debug)]
pub struct RemovedAtTheEnd(PathBuf);

impl Drop for RemovedAtTheEnd {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

impl Listener {
    /// Listens there.
    pub fn new(address: &Address) -> io::Result<Self> {
        match address {
            Address::Loopback(address) => {
                let listener = TcpListener::bind(address)?;
                listener.set_nonblocking(true)?;
                Ok(Self::Tcp(listener, Some(Instant::now())))
            }
            #[cfg(unix)]
            Address::Unix(path) => {
                if path.exists() {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                // Under another name until it listens, so that who sees the name can connect.
                let unfinished = path.with_added_extension("new");
                let listener = UnixListener::bind(&unfinished)?;
                let unfinished = RemovedAtTheEnd(unfinished);
                listener.set_nonblocking(true)?;
                fs::rename(&unfinished.0, path)?;
                Ok(Self::Unix(listener, RemovedAtTheEnd(path.clone()), Some(Instant::now() + LONG)))
            }
        }
    }

    /// Where it listens: the port, too, where the system has chosen one.
    fn address(&self) -> io::Result<Address> {
        match self {
            Self::Tcp(listener, _) => listener.local_addr().map(Address::Loopback),
            #[cfg(unix)]
            Self::Unix(_, path, _) => Ok(Address::Unix(path.0.clone())),
        }
    }

    /// Whether anybody can still connect: a socket's name may have been removed.
    pub fn can_be_reached(&self) -> bool {
        match self {
            Self::Tcp(..) => true,
            #[cfg(unix)]
            Self::Unix(_, path, _) => path.0.exists(),
        }
    }

    /// Who is waiting to connect.
    pub fn try_accept(&self) -> io::Result<Option<Connection>> {
        let accepted = match self {
            Self::Tcp(listener, _) => listener.accept().map(|(stream, _)| Stream::Tcp(stream)),
            #[cfg(unix)]
            Self::Unix(listener, ..) => listener.accept().map(|(stream, _)| Stream::Unix(stream)),
        };
        match accepted {
            Ok(stream) => Connection::new(stream).map(Some),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(None),
                _ => Err(error),
            },
        }
    }

    /// Waits a moment. Whoever gave the name of a socket may be on the way, and is told of the wait only if it gets long; a
    /// port is told at once.
    pub fn wait(&mut self, say: Say) {
        let address = self.address();
        let told_at = match self {
            Self::Tcp(_, told_at) => told_at,
            #[cfg(unix)]
            Self::Unix(_, _, told_at) => told_at,
        };
        if told_at.is_some_and(|at| Instant::now() >= at) {
            *told_at = None;
            if let Ok(address) = address {
                say(&format!("waiting for gdb: `target remote {address}`"));
            }
        }
        thread::sleep(PATIENCE / 5);
    }
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

macro_rules! each {
    ($stream:expr, $inner:ident => $call:expr) => {
        match $stream {
            Stream::Tcp($inner) => $call,
            #[cfg(unix)]
            Stream::Unix($inner) => $call,
        }
    };
}

/// A debugger that is there.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    /// What waits to be sent.
    output: Vec<u8>,
}

/// What has come from the debugger.
#[derive(Debug)]
pub enum Received {
    /// So many bytes.
    Bytes(usize),
    /// Nothing yet.
    Nothing,
    /// The end: nobody is there any more.
    End,
}

impl Connection {
    fn new(stream: Stream) -> io::Result<Self> {
        each!(&stream, inner => {
            inner.set_nonblocking(false)?;
            inner.set_read_timeout(Some(PATIENCE))?;
            inner.set_write_timeout(Some(PATIENCE))?;
        });
        if let Stream::Tcp(stream) = &stream {
            // Packets are small, and each is waited for.
            stream.set_nodelay(true)?;
        }
        Ok(Self { stream, output: Vec::new() })
    }

    /// The same connection once more.
    pub fn try_clone(&self) -> io::Result<Self> {
        let stream = match &self.stream {
            Stream::Tcp(stream) => Stream::Tcp(stream.try_clone()?),
            #[cfg(unix)]
            Stream::Unix(stream) => Stream::Unix(stream.try_clone()?),
        };
        Ok(Self { stream, output: Vec::new() })
    }

    /// Answers a packet that cannot be understood ("Packets" in gdb's manual: an empty reply).
    pub fn refuse_packet(&mut self) {
        self.output.extend_from_slice(b"+$#00");
    }

    /// Waits a moment for something.
    pub fn receive(&mut self, buffer: &mut [u8]) -> Received {
        match each!(&mut self.stream, stream => stream.read(buffer)) {
            Ok(0) => Received::End,
            Ok(len) => Received::Bytes(len),
            Err(error) => match error.kind() {
                // The system says either when the time is over.
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted => {
                    Received::Nothing
                }
                _ => Received::End,
            },
        }
    }

    /// The same, without waiting.
    pub fn receive_at_once(&mut self, buffer: &mut [u8]) -> Received {
        if each!(&self.stream, stream => stream.set_nonblocking(true)).is_err() {
            return Received::End;
        }
        let received = self.receive(buffer);
        match each!(&self.stream, stream => stream.set_nonblocking(false)) {
            Ok(()) => received,
            Err(_) => Received::End,
        }
    }

    /// Shows a text in the debugger's console. It listens while the guest runs only ("Notification Packets" and
    /// "Stop Reply Packets" in gdb's manual).
    pub fn show(&mut self, text: &str) {
        let mut packet = String::from("O");
        text.bytes().for_each(|byte| packet.push_str(&format!("{byte:02x}")));
        let sum = packet.bytes().fold(0_u8, u8::wrapping_add);
        self.output.extend_from_slice(format!("${packet}#{sum:02x}").as_bytes());
    }
}

impl gdbstub::conn::Connection for Connection {
    type Error = io::Error;

    fn write(&mut self, byte: u8) -> io::Result<()> {
        const ENOUGH: usize = 64 << 10;
        self.output.push(byte);
        if self.output.len() < ENOUGH { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> io::Result<()> {
        let output = std::mem::take(&mut self.output);
        let mut rest = &output[..];
        // The system's own limit begins again after each signal.
        let mut end = Instant::now() + LONGEST_WRITE;
        while !rest.is_empty() {
            match each!(&mut self.stream, stream => Write::write(stream, rest)) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(len) => {
                    rest = &rest[len..];
                    end = Instant::now() + LONGEST_WRITE;
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
                        if Instant::now() < end => {}
                    _ => return Err(error),
                },
            }
        }
        Ok(())
    }
}
