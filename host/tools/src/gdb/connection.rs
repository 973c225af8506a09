//! The connection to the debugger.

#[cfg(unix)]
use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
#[cfg(unix)]
use std::os::unix::net::{UnixListener, UnixStream};
#[cfg(unix)]
use std::path::PathBuf;
use std::time::{Duration, Instant};

use flatland_machine::Machine;

use super::Address;

/// How long a read or a write may block before the run is checked for an interrupt.
const INTERRUPT_CHECK_EVERY: Duration = Duration::from_millis(50);

/// The time limit for sending an answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// A socket that accepts debuggers.
#[derive(Debug)]
pub enum Listener {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixListener, SocketPath),
}

/// The path of a Unix socket, which is removed when this is dropped.
#[cfg(unix)]
#[derive(Debug)]
pub struct SocketPath(PathBuf);

#[cfg(unix)]
impl Drop for SocketPath {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

impl Listener {
    /// Listens at this address.
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
                // Bound under another name until it listens, so that the name exists only when it accepts
                // connections.
                let unfinished = path.with_added_extension("new");
                let listener = UnixListener::bind(&unfinished)?;
                let unfinished = SocketPath(unfinished);
                listener.set_nonblocking(true)?;
                fs::rename(&unfinished.0, path)?;
                Ok(Self::Unix(listener, SocketPath(path.clone())))
            }
        }
    }

    /// The address, with the port that the system has chosen.
    pub fn address(&self) -> io::Result<Address> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(Address::Loopback),
            #[cfg(unix)]
            Self::Unix(_, path) => Ok(Address::Unix(path.0.clone())),
        }
    }

    /// Whether a debugger can still connect: the path of a Unix socket may have been removed.
    pub fn can_be_reached(&self) -> bool {
        match self {
            Self::Tcp(_) => true,
            #[cfg(unix)]
            Self::Unix(_, path) => path.0.exists(),
        }
    }

    /// Whether to announce a wait at once. A port may be chosen by the system, so its number must be printed; the
    /// user knows the path of a Unix socket.
    pub fn announces_at_once(&self) -> bool {
        matches!(self, Self::Tcp(_))
    }

    /// The next debugger that is connecting, if any.
    pub fn accept(&self) -> io::Result<Option<Connection>> {
        let accepted = match self {
            // Packets are small, and the debugger waits for each.
            Self::Tcp(listener) => listener.accept().and_then(|(stream, _)| {
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }),
            #[cfg(unix)]
            Self::Unix(listener, _) => listener.accept().map(|(stream, _)| Stream::Unix(stream)),
        };
        match accepted.and_then(Connection::new) {
            Ok(connection) => Ok(Some(connection)),
            Err(error) => match error.kind() {
                // No connection, or it was closed meanwhile.
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

/// A connected debugger.
#[derive(Debug)]
pub struct Connection(Stream);

/// The result of a read.
#[derive(Debug)]
pub enum Received {
    /// This many bytes.
    Bytes(usize),
    /// No bytes yet.
    Nothing,
    /// The debugger has closed the connection.
    End,
}

impl Connection {
    fn new(stream: Stream) -> io::Result<Self> {
        each!(&stream, inner => {
            inner.set_nonblocking(false)?;
            inner.set_read_timeout(Some(INTERRUPT_CHECK_EVERY))?;
            inner.set_write_timeout(Some(INTERRUPT_CHECK_EVERY))?;
        });
        Ok(Self(stream))
    }

    /// Receives bytes, and waits up to [`INTERRUPT_CHECK_EVERY`] for them.
    pub fn receive(&mut self, buffer: &mut [u8]) -> Received {
        match each!(&mut self.0, stream => stream.read(buffer)) {
            Ok(0) => Received::End,
            Ok(len) => Received::Bytes(len),
            Err(error) => match error.kind() {
                // Systems differ in the error of a timeout.
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted => {
                    Received::Nothing
                }
                _ => Received::End,
            },
        }
    }

    /// Receives bytes without waiting.
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

    /// Sends all bytes. An error if they cannot be sent in time, or if the run is interrupted.
    pub fn send(&mut self, bytes: &[u8], machine: &Machine) -> io::Result<()> {
        let mut rest = bytes;
        // The system's timeout restarts after each signal.
        let mut end = Instant::now() + WRITE_TIMEOUT;
        while !rest.is_empty() {
            match each!(&mut self.0, stream => stream.write(rest)) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(len) => {
                    rest = &rest[len..];
                    end = Instant::now() + WRITE_TIMEOUT;
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
