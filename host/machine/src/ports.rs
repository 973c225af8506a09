//! What each port does: the table of the contract, decided over plain data.

mod facts;

use std::time::Duration;

use flatland_contract::{Direction, Port};

pub(crate) use facts::Facts;

use super::Limits;
use crate::fault::FaultKind;
use crate::outcome::Stop;
use crate::streams::{Flush, Refill};
use crate::{StreamError, Streams};

/// The ports and what is behind them.
#[derive(Debug)]
pub(crate) struct Ports {
    streams: Streams,
    facts: Facts,
    /// What the guest has not read yet of the last answer at each port, in the order of [`Port::ALL`].
    answers: Answers,
}

/// What the guest has not read yet of the last answer at each port, in the order of [`Port::ALL`].
pub(crate) type Answers = [Answer; Port::ALL.len()];

/// An answer of some bytes, which the guest may read in pieces.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    bytes: Vec<u8>,
    /// How many of them the guest has had.
    read: usize,
}

impl Answer {
    fn unread(&self) -> &[u8] {
        &self.bytes[self.read..]
    }

    /// Fills as much of `bytes` as there is, and returns how much that was.
    fn take(&mut self, bytes: &mut [u8]) -> usize {
        let unread = self.unread();
        let len = unread.len().min(bytes.len());
        bytes[..len].copy_from_slice(&unread[..len]);
        self.read += len;
        len
    }

    /// A new answer, in place of one that was read.
    fn set(&mut self, bytes: &[u8]) {
        self.bytes.clear();
        self.bytes.extend_from_slice(bytes);
        self.read = 0;
    }
}

/// A transfer that ends the run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The console was read past the end of input.
    OfInput,
    /// The guest sent its status.
    Exited(u8),
    /// While the machine waited, the run was stopped from outside.
    Stopped(Stop),
    /// While it waited for input, somebody wanted attention. It is no end: the transfer is to be tried again, from its
    /// beginning.
    Kicked,
    /// The contract has no such transfer.
    Fault(FaultKind),
}

impl Ports {
    pub fn new(streams: Streams, facts: Facts) -> Self {
        Self { streams, facts, answers: Default::default() }
    }

    pub fn answers(&self) -> &Answers {
        &self.answers
    }

    /// Begins anew with these streams, and with what the guest has not read of these answers.
    pub fn restore(&mut self, answers: &Answers, streams: Streams) {
        self.answers.clone_from(answers);
        self.streams = streams;
    }

    pub fn facts(&mut self) -> &mut Facts {
        &mut self.facts
    }

    pub fn streams(&self) -> &Streams {
        &self.streams
    }

    /// The guest sent `data` in transfers of `width` bytes.
    pub fn output(
        &mut self,
        port: u16,
        width: u8,
        data: &[u8],
        limits: &Limits,
    ) -> Result<Option<End>, StreamError> {
        let known = match known_port(port, width, Direction::Out) {
            Ok(known) => known,
            Err(kind) => return Ok(Some(End::Fault(kind))),
        };
        let Streams { output, diagnostics, .. } = &mut self.streams;
        // The order between the two streams is kept: what waits in the one goes out before the other gets more.
        let (stream, other) = match known {
            Port::Console => (output, diagnostics),
            Port::Diagnostics => (diagnostics, output),
            Port::Exit => return Ok(data.first().copied().map(End::Exited)),
            Port::Test => {
                self.facts.completed(data);
                return Ok(None);
            }
            Port::InputReady | Port::Layout | Port::Arguments | Port::Clock | Port::Random => {
                unreachable!("they allow no output")
            }
        };
        if other.is_waiting()
            && let Flush::Stopped(stop) = other.flush(limits)?
        {
            return Ok(Some(End::Stopped(stop)));
        }
        match stream.send(data, limits)? {
            Flush::Done => Ok(None),
            Flush::Stopped(stop) => Ok(Some(End::Stopped(stop))),
        }
    }

    /// The guest waits for `data` in transfers of `width` bytes.
    pub fn input(
        &mut self,
        port: u16,
        width: u8,
        data: &mut [u8],
        limits: &Limits,
    ) -> Result<Option<End>, StreamError> {
        match known_port(port, width, Direction::In) {
            Ok(Port::Console) => self.read_console(data, limits),
            Ok(Port::Random) => Facts::random(data).map(|()| None),
            Ok(Port::Diagnostics | Port::Exit) => unreachable!("they allow no input"),
            Ok(port) => self.read_answer(port, data, limits),
            Err(kind) => Ok(Some(End::Fault(kind))),
        }
    }

    fn read_answer(
        &mut self,
        port: Port,
        data: &mut [u8],
        limits: &Limits,
    ) -> Result<Option<End>, StreamError> {
        let mut filled = 0;
        loop {
            let answer = &mut self.answers[port.index()];
            filled += answer.take(&mut data[filled..]);
            if filled == data.len() {
                return Ok(None);
            }
            match port {
                Port::Layout => answer.set(&self.facts.layout.to_bytes()),
                Port::Arguments => answer.set(&self.facts.arguments()),
                Port::Clock => answer.set(&self.facts.clock().to_bytes()),
                Port::Test => answer.set(&self.facts.order().to_bytes()),
                Port::InputReady => match self.input_ready(limits)? {
                    Ok(ready) => self.answers[port.index()].set(&ready.to_le_bytes()),
                    Err(end) => {
                        // What was read of the last answer is its rest, or all of several.
                        self.answers[port.index()].set(&data[..filled]);
                        return Ok(Some(end));
                    }
                },
                Port::Console | Port::Diagnostics | Port::Random | Port::Exit => {
                    unreachable!("they answer otherwise, or not at all")
                }
            }
        }
    }

    /// How much input is ready, when there is some or the end of it.
    fn input_ready(&mut self, limits: &Limits) -> Result<Result<u32, End>, StreamError> {
        Ok(match self.refill(limits)? {
            Refill::Stopped(stop) => Err(End::Stopped(stop)),
            Refill::Kicked => Err(End::Kicked),
            Refill::Ready | Refill::End => {
                Ok(u32::try_from(self.streams.input.ready().len()).unwrap_or(u32::MAX))
            }
        })
    }

    fn read_console(&mut self, data: &mut [u8], limits: &Limits) -> Result<Option<End>, StreamError> {
        let mut filled = 0;
        loop {
            filled += self.streams.input.take(&mut data[filled..]);
            if filled == data.len() {
                return Ok(None);
            }
            match self.refill(limits)? {
                Refill::Ready => {}
                Refill::End => return Ok(Some(End::OfInput)),
                Refill::Stopped(stop) => return Ok(Some(End::Stopped(stop))),
                Refill::Kicked => {
                    self.streams.input.put_back(&data[..filled]);
                    return Ok(Some(End::Kicked));
                }
            }
        }
    }

    /// Waits for input, after everything the guest sent is out: a person sees the question first.
    fn refill(&mut self, limits: &Limits) -> Result<Refill, StreamError> {
        if self.streams.input.ready().is_empty()
            && let Some(stop) = self.flush(limits)?
        {
            return Ok(Refill::Stopped(stop));
        }
        self.streams.input.refill(limits)
    }

    /// Whether something waits to be written.
    pub fn output_waits(&self) -> bool {
        self.streams.output.is_waiting() || self.streams.diagnostics.is_waiting()
    }

    /// Writes everything the guest sent, unless the run must stop first.
    pub fn flush(&mut self, limits: &Limits) -> Result<Option<Stop>, StreamError> {
        for stream in [&mut self.streams.output, &mut self.streams.diagnostics] {
            if let Flush::Stopped(stop) = stream.flush(limits)? {
                return Ok(Some(stop));
            }
        }
        Ok(None)
    }

    /// Writes what can be written in this time.
    pub fn flush_within(&mut self, time: Duration) -> Result<(), StreamError> {
        self.streams.output.flush_within(time)?;
        self.streams.diagnostics.flush_within(time)
    }
}

/// The port of this number, if it takes transfers of this width in this direction.
fn known_port(port: u16, width: u8, direction: Direction) -> Result<Port, FaultKind> {
    match Port::from_number(port) {
        Some(known) if width == 1 && known.allows(direction) => Ok(known),
        _ => Err(FaultKind::Port { port, width, direction }),
    }
}

#[cfg(test)]
mod tests {
    use flatland_contract::memory::Layout;
    use flatland_contract::test::Order;

    use super::*;
    use crate::Input;

    fn ports(input: &[u8]) -> Ports {
        let streams = Streams { input: Input::from_bytes(input.to_vec()), ..Streams::none() };
        Ports::new(streams, Facts::new(Layout::new(16 << 20, 2 << 20)))
    }

    fn no_limits() -> Limits {
        Limits::from_now(None)
    }

    #[test]
    fn the_table_of_the_contract_is_what_is_decided() {
        for number in 0..=u16::MAX {
            for (width, direction) in
                [1, 2, 4].into_iter().flat_map(|width| [(width, Direction::In), (width, Direction::Out)])
            {
                let known = known_port(number, width, direction);
                let in_table = Port::ALL
                    .into_iter()
                    .find(|port| port.number() == number && port.allows(direction) && width == 1);
                match in_table {
                    Some(port) => assert_eq!(known, Ok(port)),
                    None => assert_eq!(known, Err(FaultKind::Port { port: number, width, direction })),
                }
            }
        }
    }

    #[test]
    fn what_the_contract_does_not_have_ends_the_run_and_moves_nothing() {
        let mut ports = ports(b"abc");
        let mut data = [0; 2];
        let fault = |width, direction| Some(End::Fault(FaultKind::Port { port: 0xe9, width, direction }));
        assert_eq!(ports.input(0xe9, 2, &mut data, &no_limits()).unwrap(), fault(2, Direction::In));
        assert_eq!(ports.output(0xe9, 4, b"wide", &no_limits()).unwrap(), fault(4, Direction::Out));
        assert_eq!((ports.streams().input.ready(), ports.streams().output.bytes()), (&b"abc"[..], &b""[..]));
    }

    #[test]
    fn the_console_fills_what_is_asked_for_or_ends_the_run() {
        let mut ports = ports(b"abc");
        let mut data = [0; 2];
        assert_eq!(ports.input(0xe9, 1, &mut data, &no_limits()).unwrap(), None);
        assert_eq!(&data, b"ab");
        assert_eq!(ports.input(0xe9, 1, &mut data, &no_limits()).unwrap(), Some(End::OfInput));
    }

    #[test]
    fn an_answer_of_input_ready_may_be_read_in_pieces() {
        let mut ports = ports(&[b'x'; 0x0102]);
        let mut answer = [0xff; 3];
        assert_eq!(ports.input(0xeb, 1, &mut answer, &no_limits()).unwrap(), None);
        assert_eq!(answer, [2, 1, 0]);
        assert_eq!(ports.input(0xe9, 1, &mut [0], &no_limits()).unwrap(), None);
        // The last byte of the first answer, and a second one.
        let mut answer = [0xff; 5];
        assert_eq!(ports.input(0xeb, 1, &mut answer, &no_limits()).unwrap(), None);
        assert_eq!(answer, [0, 1, 1, 0, 0]);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_transfer_that_was_interrupted_can_be_tried_again_from_its_beginning() {
        use std::io::Write;
        use std::time::Instant;

        use crate::kick::{self, Alarm};

        let limits = no_limits().coming_back();
        for (port, sent, expected) in [(0xe9, &b"abc"[..], &b"abcd"[..]), (0xeb, b"abc", b"\x03\0\0\0\x03\0")]
        {
            let (reader, mut writer) = std::io::pipe().unwrap();
            let input = Input::from_file(std::os::fd::OwnedFd::from(reader).into());
            let mut ports =
                Ports::new(Streams { input, ..Streams::none() }, Facts::new(Layout::new(16 << 20, 2 << 20)));
            let mut alarm = Alarm::once();
            let mut data = vec![0xff; expected.len()];
            // Part of it is there, and then nothing comes before the bell.
            if port == 0xe9 {
                writer.write_all(sent).unwrap();
            }
            for _ in 0..2 {
                alarm.set(Instant::now() + Duration::from_millis(5)).unwrap();
                assert_eq!(ports.input(port, 1, &mut data, &limits).unwrap(), Some(End::Kicked));
                assert!(kick::answer());
                alarm.answered();
            }
            writer.write_all(if port == 0xe9 { b"d" } else { sent }).unwrap();
            assert_eq!(ports.input(port, 1, &mut data, &limits).unwrap(), None);
            assert_eq!(data, expected, "{port:#x}");
        }
    }

    #[test]
    fn answers_begin_again_behind_their_end() {
        let mut ports = ports(b"");
        ports.facts().set_arguments([b"a".to_vec(), b"".to_vec(), b"b c".to_vec()]);
        let once = *b"\x07\0\0\0a\0\0b c\0";
        let mut bytes = [0xff; 22];
        assert_eq!(ports.input(0xed, 1, &mut bytes, &no_limits()).unwrap(), None);
        assert_eq!(bytes, [once, once].concat()[..]);
        let mut layout = [0; Layout::SIZE];
        assert_eq!(ports.input(0xec, 1, &mut layout[..5], &no_limits()).unwrap(), None);
        assert_eq!(ports.input(0xec, 1, &mut layout[5..], &no_limits()).unwrap(), None);
        assert_eq!(Layout::from_bytes(layout).ram_end, 16 << 20);
    }

    #[test]
    fn a_test_is_complete_with_its_token_and_nothing_else() {
        for (sent, complete) in [
            (&b"\x04\x03\x02\x01"[..], true),
            (b"", false),
            (b"\x04\x03\x02", false),
            (b"\x04\x03\x02\x01\x00", false),
        ] {
            let mut ports = ports(b"");
            let order = Order { function: 0x100, token: 0x0102_0304 };
            ports.facts().set_order(order);
            let mut bytes = [0; Order::SIZE];
            assert_eq!(ports.input(0xf5, 1, &mut bytes, &no_limits()).unwrap(), None);
            assert_eq!(Order::from_bytes(bytes), order);
            assert_eq!(ports.output(0xf5, 1, sent, &no_limits()).unwrap(), None);
            assert_eq!(ports.facts().is_complete(), complete, "{sent:x?}");
        }
    }

    #[test]
    fn the_first_byte_at_the_exit_port_is_the_status() {
        let mut ports = ports(b"");
        assert_eq!(ports.output(0xf4, 1, &[7, 8], &no_limits()).unwrap(), Some(End::Exited(7)));
    }
}
