//! The address where a debugger may connect: only from this machine, because a debugger has full control of the
//! guest.

use std::error::Error;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// The default port, as in the manuals of gdb and QEMU.
const PORT: u16 = 1234;

/// An address that other machines cannot reach.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Address {
    /// A port of the loopback interface.
    Loopback(SocketAddr),
    /// A socket in the file system.
    #[cfg(unix)]
    Unix(PathBuf),
}

impl Default for Address {
    fn default() -> Self {
        Self::on_port(PORT)
    }
}

impl Address {
    fn on_port(port: u16) -> Self {
        Self::Loopback((Ipv4Addr::LOCALHOST, port).into())
    }
}

/// The form that gdb's `target remote` accepts.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Loopback(address) => write!(f, "{address}"),
            #[cfg(unix)]
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Why an address cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddressError {
    /// Other machines can reach the address.
    NotLoopback,
    /// The text is not an address.
    Unknown,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::NotLoopback => {
                "not an address of this machine alone, and whoever connects owns the guest: give a port, such as \
                 1234, or a unix socket, such as unix:/tmp/gdb; from elsewhere, come through ssh -L \
                 1234:127.0.0.1:1234"
            }
            Self::Unknown => {
                "not an address: give a port, such as 1234 or 127.0.0.1:1234, or a unix socket, such as unix:/tmp/gdb"
            }
        })
    }
}

impl Error for AddressError {}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Some(path) = text.strip_prefix("unix:").or_else(|| text.contains('/').then_some(text)) {
            return unix(path);
        }
        let text = text.strip_prefix("tcp:").unwrap_or(text);
        if let Ok(port) = text.strip_prefix(':').unwrap_or(text).parse() {
            return Ok(Self::on_port(port));
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            let is_ours = address.ip().to_canonical().is_loopback();
            return if is_ours { Ok(Self::Loopback(address)) } else { Err(AddressError::NotLoopback) };
        }
        // Host names are not resolved: the name server could return an address of another machine.
        match text.rsplit_once(':') {
            Some(("localhost", port)) => port.parse().map(Self::on_port).map_err(|_| AddressError::Unknown),
            Some((_, port)) if port.parse::<u16>().is_ok() => Err(AddressError::NotLoopback),
            _ if text.parse::<IpAddr>().is_ok_and(|address| !address.is_loopback()) => {
                Err(AddressError::NotLoopback)
            }
            _ => Err(AddressError::Unknown),
        }
    }
}

#[cfg(unix)]
fn unix(path: &str) -> Result<Address, AddressError> {
    if path.is_empty() { Err(AddressError::Unknown) } else { Ok(Address::Unix(path.into())) }
}

#[cfg(not(unix))]
fn unix(_: &str) -> Result<Address, AddressError> {
    let _: Option<PathBuf> = None;
    Err(AddressError::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_this_machine() {
        for (text, shown) in [
            ("1234", "127.0.0.1:1234"),
            (":1", "127.0.0.1:1"),
            ("0", "127.0.0.1:0"),
            ("localhost:99", "127.0.0.1:99"),
            ("127.0.0.1:1234", "127.0.0.1:1234"),
            ("127.9.9.9:1234", "127.9.9.9:1234"),
            ("tcp:127.0.0.1:5", "127.0.0.1:5"),
            ("[::1]:1234", "[::1]:1234"),
        ] {
            assert_eq!(
                text.parse::<Address>().map(|address| address.to_string()),
                Ok(shown.into()),
                "{text}"
            );
        }
        assert_eq!(Address::default().to_string(), "127.0.0.1:1234");
    }

    #[test]
    #[cfg(unix)]
    fn sockets_in_the_file_system() {
        for text in ["unix:/tmp/gdb", "/tmp/gdb", "unix:gdb", "./gdb"] {
            let path = text.strip_prefix("unix:").unwrap_or(text);
            assert_eq!(text.parse(), Ok(Address::Unix(path.into())), "{text}");
        }
        assert_eq!("unix:".parse::<Address>(), Err(AddressError::Unknown));
    }

    #[test]
    fn addresses_that_others_can_reach_are_refused() {
        for text in [
            "0.0.0.0:1234",
            "[::]:1234",
            "192.168.1.2:1234",
            "example.org:1234",
            "10.0.0.1",
            "[::ffff:10.0.0.1]:1",
        ] {
            assert_eq!(text.parse::<Address>(), Err(AddressError::NotLoopback), "{text}");
        }
        for text in ["", "gdb", "65536", "-1", "localhost:", "localhost:x", "127.0.0.1"] {
            assert_eq!(text.parse::<Address>(), Err(AddressError::Unknown), "{text}");
        }
    }
}
