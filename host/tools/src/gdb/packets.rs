//! Splits the bytes from a debugger into packets ("Overview" of the remote protocol in gdb's manual).
//!
//! gdbstub does this, too, but a stub is lost with the first packet that it cannot read. This module requests a
//! damaged packet again, and the session goes on.

/// The longest packet that is accepted, with its `$`, `#` and checksum. gdb is told this size.
pub const PACKET_SIZE: usize = 4096;

/// The most bytes of memory in one answer. Each byte is two digits.
const MOST_MEMORY: usize = (PACKET_SIZE - FRAME) / 2;

/// The length of `$`, `#` and two digits.
const FRAME: usize = 4;

/// A message from the debugger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The text between `$` and `#`.
    Packet(Vec<u8>),
    /// A packet whose checksum is wrong.
    Damaged,
    /// A packet that is longer than [`PACKET_SIZE`].
    TooLong,
    /// The debugger received the last answer damaged.
    Nack,
    /// Ctrl-C.
    Interrupt,
}

/// Assembles messages from bytes.
#[derive(Debug, Default)]
pub struct Packets {
    state: State,
    body: Vec<u8>,
    is_too_long: bool,
    sum: u8,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Between,
    Body,
    FirstDigit,
    /// After the first digit of the checksum.
    SecondDigit(u8),
}

impl Packets {
    /// Takes a byte. Skips bytes outside packets.
    pub fn take(&mut self, byte: u8) -> Option<Message> {
        match (&self.state, byte) {
            // In a packet `$` would be escaped, so the previous packet was cut off.
            (_, b'$') => *self = Self { state: State::Body, ..Self::default() },
            (State::Between, b'-') => return Some(Message::Nack),
            (State::Between, 0x03) => return Some(Message::Interrupt),
            (State::Between, _) => {}
            (State::Body, b'#') => self.state = State::FirstDigit,
            (State::Body, _) => {
                self.sum = self.sum.wrapping_add(byte);
                self.is_too_long |= self.body.len() == PACKET_SIZE - FRAME;
                if !self.is_too_long {
                    self.body.push(byte);
                }
            }
            (State::FirstDigit, _) => self.state = State::SecondDigit(byte),
            (State::SecondDigit(first), second) => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let told = digit(*first).zip(digit(second)).map(|(high, low)| high << 4 | low);
                let Self { body, is_too_long, sum, .. } = std::mem::take(self);
                return Some(match told {
                    Some(told) if told != u32::from(sum) => Message::Damaged,
                    None => Message::Damaged,
                    Some(_) if is_too_long => Message::TooLong,
                    Some(_) => Message::Packet(body),
                });
            }
        }
        None
    }
}

/// A packet with this body and its checksum.
pub fn packet(body: &[u8]) -> Vec<u8> {
    let sum = body.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    [b"$", body, format!("#{sum:02x}").as_bytes()].concat()
}

/// A packet that prints text in the debugger's console. gdb accepts it only while the guest runs ("Stop Reply
/// Packets" in gdb's manual).
pub fn console(text: &str) -> Vec<u8> {
    let digits: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    packet(format!("O{digits}").as_bytes())
}

/// Shortens a request for memory to fit one answer, since gdbstub would send all of it. An answer may always be
/// shorter ("m" under "Packets" in gdb's manual).
pub fn limit_memory_request(body: Vec<u8>) -> Vec<u8> {
    let request = body.strip_prefix(b"m").and_then(|request| str::from_utf8(request).ok());
    match request.and_then(|request| request.split_once(',')) {
        Some((address, len)) if u64::from_str_radix(len, 16).is_ok_and(|len| len > MOST_MEMORY as u64) => {
            format!("m{address},{MOST_MEMORY:x}").into_bytes()
        }
        _ => body,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(bytes: &[u8]) -> Vec<Message> {
        let mut packets = Packets::default();
        bytes.iter().filter_map(|byte| packets.take(*byte)).collect()
    }

    fn is(body: &[u8]) -> Message {
        Message::Packet(body.to_vec())
    }

    #[test]
    fn packets_and_the_bytes_between_them() {
        assert_eq!(messages(b"+$g#67+$?#3F"), [is(b"g"), is(b"?")]);
        assert_eq!(messages(b"$#00"), [is(b"")]);
        assert_eq!(messages(b"GET / HTTP/1.1\r\n\r\n\0#67$g#67"), [is(b"g")]);
        assert_eq!(messages(b"\x03$g#67-"), [Message::Interrupt, is(b"g"), Message::Nack]);
        // In a packet these bytes have no such meaning.
        assert_eq!(messages(&packet(b"X0,2:\x03-")), [is(b"X0,2:\x03-")]);
    }

    #[test]
    fn damaged_packets_are_reported_and_the_next_one_is_read() {
        for damaged in [&b"$g#66"[..], b"$g#xx", b"$g#6-", b"$?g#67"] {
            assert_eq!(messages(&[damaged, b"$g#67"].concat()), [Message::Damaged, is(b"g")]);
        }
        for cut in [&b"$"[..], b"$qSupp", b"$g#", b"$g#6"] {
            assert_eq!(messages(&[cut, b"$g#67"].concat()), [is(b"g")]);
        }
    }

    #[test]
    fn a_packet_fits_or_not() {
        let longest = [b'a'; PACKET_SIZE - FRAME];
        assert_eq!(packet(&longest).len(), PACKET_SIZE);
        assert_eq!(messages(&packet(&longest)), [is(&longest)]);
        let longer = packet(&[b'a'; PACKET_SIZE - FRAME + 1]);
        assert_eq!(messages(&[&longer[..], b"$g#67"].concat()), [Message::TooLong, is(b"g")]);
    }

    #[test]
    fn requests_for_memory_fit_an_answer() {
        for (asked, made) in [
            ("m0,ffffffff", "m0,7fe"),
            ("mfffff0,7ff", "mfffff0,7fe"),
            ("m0,7fe", "m0,7fe"),
            ("m0,ffffffffffffffffff", "m0,ffffffffffffffffff"),
            ("m0,x", "m0,x"),
            ("m", "m"),
            ("M0,ffff:", "M0,ffff:"),
        ] {
            assert_eq!(limit_memory_request(asked.into()), made.as_bytes());
        }
    }
}
