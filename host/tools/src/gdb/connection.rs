//! The connection to the debugger.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
#[cfg(unix)]
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use flatland_machine::Machine;

use super::Address;

/// The longest time without a look whether somebody wants the run to end.
const PATIENCE: Duration = Duration::from_millis(50);

/// How long a debugger may take to read an answer.
const LONGEST_WRITE: Duration = Duration::from_secs(5);

/// Where a debugger can connect.
#[derive(Debug)]
pub enum Listener {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixListener, RemovedAtTheEnd),
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
                Ok(Self::Tcp(listener))
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
                Ok(Self::Unix(listener, RemovedAtTheEnd(path.clone())))
            }
        }
    }

    /// Where it listens: the port, too, where the system has chosen one.
    pub fn address(&self) -> io::Result<Address> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(Address::Loopback),
            #[cfg(unix)]
            Self::Unix(_, path) => Ok(Address::Unix(path.0.clone())),
        }
    }

    /// Whether anybody can still connect: a socket's name may have been removed.
    pub fn can_be_reached(&self) -> bool {
        match self {
            Self::Tcp(_) => true,
            #[cfg(unix)]
            Self::Unix(_, path) => path.0.exists(),
        }
    }

    /// Whether a wait is told at once. Who gave the name of a socket may be on the way; a port has to be known first.
    pub fn is_told_at_once(&self) -> bool {
        matches!(self, Self::Tcp(_))
    }

    /// Somebody who wants to connect, if there is anybody now.
    pub fn accept(&self) -> io::Result<Option<Connection>> {
        let accepted = match self {
            Self::Tcp(listener) => listener.accept().map(|(stream, _)| Stream::Tcp(stream)),
            #[cfg(unix)]
            Self::Unix(listener, _) => listener.accept().map(|(stream, _)| Stream::Unix(stream)),
        };
        match accepted.and_then(Connection::new) {
            Ok(connection) => Ok(Some(connection)),
            Err(error) => match error.kind() {
                // Nobody, or nobody any more.
                io::ErrorKind::WouldBlock
                | io::ErrorKind::Interrupted
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::ConnectionReset => Ok(None),
                _ => Err(error),
            },
        }
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
pub struct Connection(Stream);

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
        Ok(Self(stream))
    }

    /// Waits a moment for something.
    pub fn receive(&mut self, buffer: &mut [u8]) -> Received {
        match each!(&mut self.0, stream => stream.read(buffer)) {
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
        if each!(&self.0, stream => stream.set_nonblocking(true)).is_err() {
            return Received::End;
        }
        let received = self.receive(buffer);
        match each!(&self.0, stream => stream.set_nonblocking(false)) {
            Ok(()) => received,
            Err(_) => Received::End,
        }
    }

    /// Sends all of it. An error if nobody reads it, or the run is interrupted meanwhile.
    pub fn send(&mut self, bytes: &[u8], machine: &Machine) -> io::Result<()> {
        let mut rest = bytes;
        // The system's own limit begins again after each signal.
        let mut end = Instant::now() + LONGEST_WRITE;
        while !rest.is_empty() {
            match each!(&mut self.0, stream => stream.write(rest)) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(len) => {
                    rest = &rest[len..];
                    end = Instant::now() + LONGEST_WRITE;
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
                        if Instant::now() < end && !machine.is_interrupted() => {}
                    _ => return Err(error),
                },
            }
        }
        Ok(())
    }
}
