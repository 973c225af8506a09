//! The contract's devices and those of a caller, seen from a guest.

use std::io::Write;
use std::time::Duration;

use flatland_contract::test::Order;
use flatland_contract::{Clock, Direction, Port};
use flatland_machine::{
    BuildError, Builder, Device, EngineChoice, Event, Host, Machine, Outcome, Output, Program, Streams,
    Unfinished, Wants, devices,
};
use flatland_x86::{FaultKind, Registers};

/// A machine on the soft engine with this code.
fn machine(builder: Builder, code: &[u8]) -> Machine {
    let program = Program::from_bytes(code.to_vec()).expect("there is code");
    builder.engine(EngineChoice::Soft).build(&program).expect("it fits")
}

/// Reads `count` bytes at a port by one instruction, and returns how the run ended and what was read.
fn read(machine: &mut Machine, port: u16, count: u32) -> (Outcome, Vec<u8>) {
    const BUFFER: u32 = 0x1000;
    machine.write_ram(0, &[0xf3, 0x6c, 0xf4]); // rep insb; hlt
    let registers =
        Registers { edx: port.into(), ecx: count, edi: BUFFER, eflags: 2, ..Registers::default() };
    machine.set_registers(&registers).unwrap();
    let outcome = machine.run().unwrap();
    let mut bytes = vec![0; count as usize];
    machine.read_ram(BUFFER, &mut bytes);
    (outcome, bytes)
}

/// Writes these bytes at a port by one instruction.
fn write(machine: &mut Machine, port: u16, bytes: &[u8]) -> Outcome {
    const BUFFER: u32 = 0x1000;
    machine.write_ram(0, &[0xf3, 0x6e, 0xf4]); // rep outsb; hlt
    machine.write_ram(BUFFER, bytes);
    let registers = Registers {
        edx: port.into(),
        ecx: bytes.len() as u32,
        esi: BUFFER,
        eflags: 2,
        ..Registers::default()
    };
    machine.set_registers(&registers).unwrap();
    machine.run().unwrap()
}

#[test]
fn the_table_of_the_contract_is_what_is_there() {
    for number in (0..0x200).chain([0x3f8, u16::MAX]) {
        for (width, code) in [(1, &[][..]), (2, &[0x66]), (4, &[])] {
            for direction in [Direction::In, Direction::Out] {
                let opcode = match (direction, width) {
                    (Direction::In, 1) => 0xec,
                    (Direction::In, _) => 0xed,
                    (Direction::Out, 1) => 0xee,
                    (Direction::Out, _) => 0xef,
                };
                let code = [code, &[opcode, 0xf4]].concat();
                let mut machine = machine(Machine::builder().input("x"), &code);
                machine
                    .set_registers(&Registers { edx: number.into(), eflags: 2, ..Registers::default() })
                    .unwrap();
                let outcome = machine.run().unwrap();
                let in_table =
                    Port::from_number(number).is_some_and(|port| port.allows(direction) && width == 1);
                let fault = match outcome {
                    Outcome::Fault(fault) => Some(fault.kind),
                    _ => None,
                };
                let expected = (!in_table).then_some(FaultKind::Port { port: number, width, direction });
                assert_eq!(fault, expected, "{number:#x} {width} {direction:?}");
            }
        }
    }
}

#[test]
fn the_console_fills_what_is_asked_for_or_ends_the_run() {
    let mut machine = machine(Machine::builder().input("abc"), &[0xf4]);
    assert_eq!(read(&mut machine, 0xe9, 2), (Outcome::Halted, b"ab".to_vec()));
    assert_eq!(read(&mut machine, 0xe9, 2).0, Outcome::EndOfInput);
}

#[test]
fn answers_may_be_read_in_pieces_and_begin_again_behind_their_end() {
    let input = vec![b'x'; 0x0102];
    let builder = Machine::builder().input(input).arguments(["a", "", "b c"]);
    let mut machine = machine(builder, &[0xf4]);
    assert_eq!(read(&mut machine, 0xeb, 3).1, [2, 1, 0]);
    read(&mut machine, 0xe9, 1);
    // The last byte of the first answer, and a second one.
    assert_eq!(read(&mut machine, 0xeb, 5).1, [0, 1, 1, 0, 0]);
    let arguments = b"\x07\0\0\0a\0\0b c\0";
    assert_eq!(read(&mut machine, 0xed, 22).1, [&arguments[..], arguments].concat());
    let layout = [read(&mut machine, 0xec, 5).1, read(&mut machine, 0xec, 7).1].concat();
    assert_eq!(layout, machine.memory_map().layout().to_bytes());
}

#[test]
fn a_snapshot_has_what_is_left_of_an_answer() {
    let mut machine = machine(Machine::builder().arguments(["abc"]), &[0xf4]);
    assert_eq!(read(&mut machine, 0xed, 5).1, b"\x04\0\0\0a");
    let snapshot = machine.snapshot().unwrap();
    assert_eq!(read(&mut machine, 0xed, 2).1, b"bc");
    machine.restore(&snapshot, Streams::none()).unwrap();
    assert_eq!(read(&mut machine, 0xed, 3).1, b"bc\0");
}

#[test]
fn devices_take_any_state() {
    let builder =
        Machine::builder().arguments(["abc"]).clock_device(devices::Clock::repeatable(Duration::ZERO));
    let mut machine = machine(builder.random_device(devices::Random::repeatable(1)), &[0xf4]);
    // A run begins with a reset of the devices.
    machine.run().unwrap();
    let states = (0..40).flat_map(|len| [0, 1, 0x80, 0xff].map(|byte| vec![byte; len]));
    for state in states {
        machine.device::<devices::Arguments>().unwrap().restore(&state);
        machine.device::<devices::Clock>().unwrap().restore(&state);
        machine.device::<devices::InputReady>().unwrap().restore(&state);
        machine.device::<devices::Layout>().unwrap().restore(&state);
        machine.device::<devices::Random>().unwrap().restore(&state);
        machine.device::<devices::Test>().unwrap().restore(&state);
        for port in [0xeb, 0xec, 0xed, 0xee, 0xef, 0xf5] {
            // More than any of them has left.
            assert_eq!(read(&mut machine, port, 100).1.len(), 100, "port {port:#x}, {state:x?}");
        }
    }
}

#[test]
fn a_test_is_complete_with_its_token_and_nothing_else() {
    for (sent, complete) in [
        (&b"\x04\x03\x02\x01"[..], true),
        (b"", false),
        (b"\x04\x03\x02", false),
        (b"\x04\x03\x02\x01\x00", false),
    ] {
        let mut machine = machine(Machine::builder(), &[0xf4]);
        // A run begins before the request.
        machine.run().unwrap();
        let order = Order { function: 0x100, token: 0x0102_0304 };
        machine.device::<devices::Test>().unwrap().request(order);
        let (_, bytes) = read(&mut machine, 0xf5, Order::SIZE as u32);
        assert_eq!(bytes, order.to_bytes());
        if !sent.is_empty() {
            assert_eq!(write(&mut machine, 0xf5, sent), Outcome::Halted);
        }
        assert_eq!(machine.device::<devices::Test>().unwrap().is_complete(), complete, "{sent:x?}");
    }
}

#[test]
fn the_first_byte_at_the_exit_port_is_the_status() {
    assert_eq!(write(&mut machine(Machine::builder(), &[0xf4]), 0xf4, &[7, 8]), Outcome::Exited(7));
}

#[test]
fn time_and_random_bytes_are_the_callers() {
    let clock = || Clock { elapsed: 5, unix_time: 6 };
    let entropy = |bytes: &mut [u8]| {
        bytes.fill(7);
        Ok(())
    };
    let mut machine = machine(Machine::builder().clock(clock).entropy(entropy), &[0xf4]);
    assert_eq!(read(&mut machine, 0xee, 16).1, Clock { elapsed: 5, unix_time: 6 }.to_bytes());
    assert_eq!(read(&mut machine, 0xef, 3).1, [7, 7, 7]);
}

#[test]
fn a_seed_and_a_time_make_runs_repeatable() {
    let run = |seed, seconds| {
        let clock = devices::Clock::repeatable(Duration::from_secs(seconds));
        let builder = Machine::builder().random_device(devices::Random::repeatable(seed)).clock_device(clock);
        let mut machine = machine(builder, &[0xf4]);
        (read(&mut machine, 0xef, 20).1, read(&mut machine, 0xee, 32).1)
    };
    assert_eq!(run(1, 9), run(1, 9));
    assert_ne!(run(1, 9).0, run(2, 9).0);
    let second = Clock { elapsed: 1_000_000, unix_time: 9_001_000_000 };
    assert_eq!(run(1, 9).1[16..], second.to_bytes());
    // The first word of SplitMix64 from 0, as its author publishes it.
    assert_eq!(run(0, 9).0[..8], 0xe220_a839_7b1d_cdaf_u64.to_le_bytes());
}

/// A device that adds up the bytes that it receives.
#[derive(Default)]
struct Adder {
    sum: u8,
    resets: u32,
}

impl Device for Adder {
    fn ports(&self) -> u16 {
        2
    }

    fn read(&mut self, offset: u16, _: &mut Host) -> Result<u8, Unfinished> {
        if offset == 0 { Ok(self.sum) } else { Err(Unfinished::Unsupported) }
    }

    fn write(&mut self, _: u16, byte: u8, host: &mut Host) -> Result<(), Unfinished> {
        self.sum += byte;
        if self.sum == 99 {
            host.output(b"ninety-nine")?;
        }
        Ok(())
    }

    fn reset(&mut self) {
        (self.sum, self.resets) = (0, self.resets + 1);
    }

    fn save(&self) -> Vec<u8> {
        vec![self.sum]
    }

    fn restore(&mut self, state: &[u8]) {
        self.sum = state[0];
    }
}

#[test]
fn a_device_of_ones_own_is_like_any_other() {
    let mut machine = machine(Machine::builder().device(0x3f8, Adder::default()), &[0xf4]);
    machine.run().unwrap();
    assert_eq!(write(&mut machine, 0x3f8, &[1, 2, 3]), Outcome::Halted);
    let snapshot = machine.snapshot().unwrap();
    assert_eq!(read(&mut machine, 0x3f8, 2), (Outcome::Halted, vec![6, 6]));
    let fault = FaultKind::Port { port: 0x3f9, width: 1, direction: Direction::In };
    assert!(matches!(read(&mut machine, 0x3f9, 1).0, Outcome::Fault(it) if it.kind == fault));
    write(&mut machine, 0x3f9, &[93]);
    assert_eq!(machine.streams().output.bytes(), b"ninety-nine");
    machine.restore(&snapshot, Streams::none()).unwrap();
    let adder = machine.device::<Adder>().unwrap();
    assert_eq!((adder.sum, adder.resets), (6, 2));
}

#[test]
fn a_port_has_one_device() {
    let program = Program::from_bytes(vec![0xf4]).unwrap();
    let build =
        |port| Machine::builder().engine(EngineChoice::Soft).device(port, Adder::default()).build(&program);
    assert!(matches!(build(0xe9), Err(BuildError::PortIsTaken(0xe9))));
    assert!(matches!(build(0xe8), Err(BuildError::PortIsTaken(0xe9))));
    assert!(matches!(build(u16::MAX), Err(BuildError::NoSuchPort(u16::MAX))));
    assert!(build(0xfffe).is_ok());
    let twice = Machine::builder().device(1, Adder::default()).device(2, Adder::default()).build(&program);
    assert_eq!(
        twice.unwrap_err().to_string(),
        "there is a device at port 0x2 already: put yours at a free one, such as 0x3f8"
    );
}

#[test]
fn input_is_announced_before_any_of_it_is_taken_and_once() {
    let mut machine = machine(Machine::builder().input("ab"), &[0xe4, 0xe9, 0xe4, 0xe9, 0xf4]);
    let wants = Wants { input: true, transfers: true, ..Wants::default() };
    for expected in [b"a", b"b"] {
        assert_eq!(machine.resume(&wants).unwrap(), Event::InputWanted);
        let Event::Transfer(transfer) = machine.resume(&wants).unwrap() else { panic!() };
        assert_eq!(transfer.data, expected);
    }
    assert_eq!(machine.resume(&wants).unwrap(), Event::Ended(Outcome::Halted));
    assert_eq!(machine.resume(&wants).unwrap(), Event::Ended(Outcome::Halted));
}

#[test]
fn a_seed_and_a_time_repeat_after_a_restore() {
    let port = |port: Port| port.number() as u8;
    // in al, RANDOM; out 0xe9, al; in al, CLOCK (a part of an answer); out 0xe9, al; jmp 0
    let code = [0xe4, port(Port::Random), 0xe6, 0xe9, 0xe4, port(Port::Clock), 0xe6, 0xe9, 0xeb, 0xf6];
    let builder = Machine::builder()
        .random_device(devices::Random::repeatable(7))
        .clock_device(devices::Clock::repeatable(Duration::ZERO))
        .instruction_limit(5 * 100);
    let mut machine = machine(builder, &code);
    let start = machine.snapshot().unwrap();
    machine.run().unwrap();
    let (middle, first) = (machine.snapshot().unwrap(), machine.streams().output.bytes().to_vec());
    machine.set_instruction_limit(5 * 200).unwrap();
    machine.run().unwrap();
    let second = machine.streams().output.bytes()[first.len()..].to_vec();
    assert_ne!(first, second);
    for (snapshot, limit, expected) in
        [(&middle, 1000, &second), (&start, 500, &first), (&middle, 1000, &second)]
    {
        machine.restore(snapshot, Streams::none()).unwrap();
        machine.set_instruction_limit(limit).unwrap();
        machine.run().unwrap();
        assert_eq!(machine.streams().output.bytes(), expected);
    }
}

/// Keeps the last byte that was written to it.
struct Register(u8);

impl Device for Register {
    fn write(&mut self, _: u16, byte: u8, _: &mut Host) -> Result<(), Unfinished> {
        self.0 = byte;
        Ok(())
    }

    fn save(&self) -> Vec<u8> {
        vec![self.0]
    }

    fn restore(&mut self, state: &[u8]) {
        self.0 = state[0];
    }
}

#[test]
fn each_device_gets_its_own_state_also_when_others_were_replaced() {
    let mut machine = machine(Machine::builder().device(0x40, Register(0)), &[0xb0, 7, 0xe6, 0x40, 0xf4]);
    machine.run().unwrap();
    let snapshot = machine.snapshot().unwrap();
    machine.set_arguments([b"a".to_vec()]);
    machine.device::<Register>().unwrap().0 = 0;
    machine.restore(&snapshot, Streams::none()).unwrap();
    assert_eq!(machine.device::<Register>().unwrap().0, 7);
    // A machine with other settings, but with the same ports.
    let builder = Machine::builder().device(0x40, Register(0)).clock(|| Clock { elapsed: 0, unix_time: 0 });
    let mut other = self::machine(builder, &[0xf4]);
    other.restore(&snapshot, Streams::none()).unwrap();
    assert_eq!(other.device::<Register>().unwrap().0, 7);
}

/// Reads two bytes of input for each byte, and returns the second one.
struct EverySecond;

impl Device for EverySecond {
    fn read(&mut self, _: u16, host: &mut Host) -> Result<u8, Unfinished> {
        let mut byte = [0];
        host.input(&mut byte)?;
        host.input(&mut byte)?;
        Ok(byte[0])
    }
}

#[test]
fn an_interrupted_transfer_of_any_device_takes_no_input() {
    // mov ecx, 3; mov dx, 0x40; mov edi, 0x1000; rep insb; hlt
    let code = [0xb9, 3, 0, 0, 0, 0x66, 0xba, 0x40, 0, 0xbf, 0, 0x10, 0, 0, 0xf3, 0x6c, 0xf4];
    let (input, mut sender) = std::io::pipe().unwrap();
    let mut machine = machine(Machine::builder().device(0x40, EverySecond).input(input), &code);
    let wants = Wants { clock: Some(Duration::from_millis(5)), ..Wants::default() };
    // Each piece arrives in a read of its own, and the guest is interrupted after each.
    for piece in [&b"abc"[..], b"d", b"e"] {
        sender.write_all(piece).unwrap();
        for _ in 0..2 {
            assert_eq!(machine.resume(&wants).unwrap(), Event::Clock);
        }
    }
    sender.write_all(b"fg").unwrap();
    assert_eq!(machine.run().unwrap(), Outcome::Halted);
    let mut bytes = [0; 3];
    machine.read_ram(0x1000, &mut bytes);
    assert_eq!(&bytes, b"bdf");
}

#[test]
fn output_beyond_what_is_kept_takes_no_memory() {
    let all: Vec<u8> = (0..=u8::MAX).cycle().take(0x2000).collect();
    for (sends, kept) in [
        (&[199][..], 199),
        (&[200], 100),
        (&[0x2000], 100),
        (&[150, 49], 199),
        (&[150, 51], 100),
        (&[150, 50, 99], 199),
        (&[0x2000, 10, 0x1000, 3], 103),
    ] {
        let mut machine = machine(Machine::builder().output(Output::memory_up_to(100)), &[0xf4]);
        let mut sent = Vec::new();
        for len in sends {
            assert_eq!(write(&mut machine, Port::Console.number(), &all[..*len]), Outcome::Halted);
            sent.extend_from_slice(&all[..*len]);
        }
        let output = &machine.streams().output;
        assert_eq!(output.bytes(), &sent[sent.len() - kept..], "{sends:?}");
        assert_eq!(output.left_out(), (sent.len() - kept) as u64, "{sends:?}");
    }
}
