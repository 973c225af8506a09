//! A client that speaks the protocol.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::LONG;

pub struct Client(UnixStream);

pub fn packet(body: &[u8]) -> Vec<u8> {
    let sum = body.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    [b"$", body, format!("#{sum:02x}").as_bytes()].concat()
}

impl Client {
    pub fn connect(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).expect("it listens");
        stream.set_read_timeout(Some(LONG)).expect("it can be set");
        Self(stream)
    }

    /// Sends these bytes unchanged.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    #[track_caller]
    pub fn send(&mut self, body: &str) {
        self.send_bytes(&packet(body.as_bytes())).expect("it is read");
    }

    /// A byte, or `None` at the end.
    fn byte(&mut self) -> io::Result<Option<u8>> {
        let mut byte = [0];
        Ok((self.0.read(&mut byte)? == 1).then_some(byte[0]))
    }

    /// The next byte, unchanged.
    #[track_caller]
    pub fn next_byte(&mut self) -> u8 {
        self.byte().expect("it comes").expect("it is not the end")
    }

    /// Receives the next packet, acknowledges it and returns its body. Fails if the connection ends or nothing
    /// arrives.
    pub fn try_to_receive(&mut self) -> io::Result<String> {
        let end = || io::Error::from(io::ErrorKind::UnexpectedEof);
        while self.byte()?.ok_or_else(end)? != b'$' {}
        self.try_to_receive_rest()
    }

    fn try_to_receive_rest(&mut self) -> io::Result<String> {
        let end = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let mut body = Vec::new();
        loop {
            match self.byte()?.ok_or_else(end)? {
                b'#' => break,
                byte => body.push(byte),
            }
        }
        let sum = [self.byte()?.ok_or_else(end)?, self.byte()?.ok_or_else(end)?];
        assert_eq!(packet(&body)[body.len() + 2..], sum, "{body:?}");
        // "Overview" of the remote protocol in gdb's manual: a character, `*`, and the repeat count.
        let mut text = String::new();
        let mut bytes = body.into_iter();
        while let Some(byte) = bytes.next() {
            match (byte, text.chars().last()) {
                (b'*', Some(repeated)) => {
                    let count = bytes.next().expect("a count") - 29;
                    text.extend((0..count).map(|_| repeated));
                }
                _ => text.push(byte.into()),
            }
        }
        self.send_bytes(b"+")?;
        Ok(text)
    }

    #[track_caller]
    pub fn receive(&mut self) -> String {
        match self.try_to_receive() {
            Ok(text) => text,
            Err(error) => panic!("there is no answer: {error}"),
        }
    }

    /// Receives a packet whose first byte has been read, and returns its body.
    #[track_caller]
    pub fn receive_rest(&mut self) -> String {
        self.try_to_receive_rest().expect("it comes")
    }

    /// Sends a request and returns the answer.
    #[track_caller]
    pub fn ask(&mut self, body: &str) -> String {
        self.send(body);
        self.receive()
    }

    /// A register, by its number.
    #[track_caller]
    pub fn register(&mut self, number: u32) -> u32 {
        let text = self.ask(&format!("p{number:x}"));
        u32::from_str_radix(&text, 16).unwrap_or_else(|_| panic!("no value: {text}")).swap_bytes()
    }

    #[track_caller]
    pub fn set_register(&mut self, number: u32, value: u32) {
        assert_eq!(self.ask(&format!("P{number:x}={:08x}", value.swap_bytes())), "OK");
    }

    /// Waits until the other side has closed the connection.
    #[track_caller]
    pub fn is_at_the_end(&mut self) -> bool {
        loop {
            match self.byte() {
                Ok(Some(_)) => {}
                Ok(None) => return true,
                Err(error) => return error.kind() == io::ErrorKind::ConnectionReset,
            }
        }
    }
}

/// Register numbers, as gdb counts them.
pub const EAX: u32 = 0;
pub const EBX: u32 = 3;
pub const EIP: u32 = 8;
