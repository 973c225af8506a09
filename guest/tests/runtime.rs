//! What std has, as this runtime has it. What needs input or arguments is tested from outside: xtask/tests.

#![no_std]
#![no_main]

use core::fmt;
use core::hint::black_box;

use flatland_guest::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use flatland_guest::prelude::*;
use flatland_guest::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use flatland_guest::{env, random, span, test};

#[test]
fn input_ends_where_there_is_none() -> io::Result<()> {
    assert_eq!(io::stdin().lines().count(), 0);
    let mut input = io::stdin();
    assert_eq!(input.read(&mut [0; 10])?, 0);
    assert_eq!(input.read(&mut [0; 10_000])?, 0);
    assert_eq!(input.lock().fill_buf()?, []);
    assert_eq!(input.read_line(&mut String::new())?, 0);
    assert_eq!(input.read_to_end(&mut Vec::new())?, 0);
    assert_eq!(input.read_to_string(&mut String::new())?, 0);
    assert_eq!(input.read_exact(&mut [0]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    Ok(())
}

#[test]
fn input_has_many_handles() {
    let _first = io::stdin();
    let _second = io::stdin();
    drop(io::stdin().lock());
    drop(io::stdin().lock());
}

#[test]
#[should_panic(expected = "standard input is locked already: drop the first `StdinLock`")]
fn input_has_one_lock() {
    let _first = io::stdin().lock();
    let _second = io::stdin().lock();
}

#[test]
fn output_takes_everything() -> io::Result<()> {
    assert_eq!(io::stdout().write(&[b'x'; 1000])?, 1000);
    io::stdout().lock().write_all(b"\n")?;
    writeln!(io::stderr(), "{}", 1)?;
    print!("{}", format!("{:>300}", "long"));
    println!();
    eprintln!("{:?}", Some(1.5));
    Ok(())
}

#[test]
fn readers_of_bytes_are_readers_of_lines() -> io::Result<()> {
    let mut text = &b"one\r\n\xff\nthree"[..];
    let lines: Vec<_> = text.by_ref().lines().collect();
    assert_eq!(lines[0].as_ref().ok().map(String::as_str), Some("one"));
    let error = lines[1].as_ref().unwrap_err();
    assert_eq!((error.kind(), lines.len()), (io::ErrorKind::InvalidData, 3));
    assert_eq!(lines[2].as_ref().ok().map(String::as_str), Some("three"));
    assert_eq!(text, b"");

    let parts: io::Result<Vec<_>> = BufRead::split(&b"a,,b"[..], b',').collect();
    assert_eq!(parts?, [&b"a"[..], b"", b"b"]);
    let bytes: io::Result<Vec<_>> = b"abc".take(2).bytes().collect();
    assert_eq!(bytes?, b"ab");
    assert_eq!(io::read_to_string(b"abc\ndef".take(5))?, "abc\nd");
    assert_eq!(io::copy(&mut &b"abc"[..], &mut io::stdout())?, 3);
    Ok(())
}

/// A reader of two bytes at a time, and a writer that takes three.
#[derive(Default)]
struct Slow {
    left: Vec<u8>,
    writes: Vec<usize>,
}

impl Read for Slow {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = buf.len().min(2).min(self.left.len());
        buf[..len].copy_from_slice(&self.left[..len]);
        self.left.drain(..len);
        Ok(len)
    }
}

impl Write for Slow {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let len = buf.len().min(3);
        self.left.extend_from_slice(&buf[..len]);
        self.writes.push(buf.len());
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn buffers_lose_nothing() -> io::Result<()> {
    let mut slow = Slow::default();
    {
        let mut writer = BufWriter::with_capacity(8, &mut slow);
        for number in 0..10 {
            write!(writer, "{number}, ")?;
        }
        writer.write_all(b"and what is longer than the buffer\n")?;
        write!(writer, "end")?;
    }
    let expected = "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, and what is longer than the buffer\nend";
    assert_eq!(str::from_utf8(&slow.left), Ok(expected));
    // `0, 1, 2` fills the buffer as far as possible, and the writer takes three bytes of it.
    assert_eq!(slow.writes[..2], [7, 4]);
    let mut reader = BufReader::with_capacity(5, slow);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut rest = vec![0; 3];
    reader.read_exact(&mut rest)?;
    assert_eq!((line + str::from_utf8(&rest).unwrap(), reader.fill_buf()?), (expected.into(), &[][..]));
    Ok(())
}

#[test]
fn what_does_not_fit_is_an_error() {
    let mut room = [0; 4];
    let error = write!(&mut room[..], "{}", 12345).unwrap_err();
    assert_eq!((error.kind(), room), (io::ErrorKind::WriteZero, *b"1234"));
    assert_eq!(format!("{error}"), "failed to write whole buffer");
    let shown = r#"Error { kind: WriteZero, message: "failed to write whole buffer" }"#;
    assert_eq!(format!("{error:?}"), shown);
    let error = io::Error::other("my own");
    assert_eq!(format!("{error} {error:?}"), r#"my own Custom { kind: Other, error: "my own" }"#);
    let error = io::Error::from(io::ErrorKind::TimedOut);
    assert_eq!(format!("{error} {error:?}"), "timed out Kind(TimedOut)");
}

/// What a crate does that reads and writes through `embedded-io`.
#[test]
fn the_streams_are_those_of_embedded_io() -> Result<(), io::Error> {
    fn copy<E>(
        mut from: impl embedded_io::BufRead<Error = E>,
        mut to: impl embedded_io::Write<Error = E>,
    ) -> Result<usize, E> {
        let len = from.fill_buf()?.len();
        from.consume(len);
        to.write_all(b"copied\n")?;
        Ok(len)
    }
    assert_eq!(copy(io::stdin().lock(), io::stdout())?, 0);
    Ok(())
}

#[test]
fn dbg_returns_what_it_shows() {
    assert_eq!(dbg!(2 + 2), 4);
    assert_eq!(dbg!(1, "two"), (1, "two"));
}

#[test]
#[should_panic(expected = "a formatting trait implementation returned an error")]
fn what_cannot_be_formatted_is_told() {
    struct Broken;
    impl fmt::Display for Broken {
        fn fmt(&self, _: &mut fmt::Formatter) -> fmt::Result {
            Err(fmt::Error)
        }
    }
    println!("{Broken}");
}

#[test]
fn a_test_has_no_arguments() {
    assert_eq!(env::args().collect::<Vec<_>>(), ["test"]);
}

#[test]
fn time_goes_forward() {
    let before = Instant::now();
    let after = Instant::now();
    assert!(after >= before);
    assert_eq!((before.duration_since(after), before + (after - before)), (Duration::ZERO, after));
    assert!(before.elapsed() < Duration::from_secs(10));
    // This was written in 2026.
    let then = UNIX_EPOCH + Duration::from_secs(1_767_225_600);
    let since = SystemTime::now().duration_since(then).expect("the clock is right");
    let error = then.duration_since(then + since).unwrap_err();
    assert_eq!(error.duration(), since);
}

#[test]
fn spans_are_guards_and_expressions() -> Result<(), core::num::ParseIntError> {
    let outer = span!("outer");
    let number: u32 = span!("parse", "42".parse())?;
    assert_eq!(span!("double", { 2 * number }), 84);
    let _inner = span!("inner");
    drop(outer);
    let names = [1, 2].map(|number| span!("in a closure", number));
    assert_eq!(names, [1, 2]);
    Ok(())
}

#[test]
fn random_numbers_differ() {
    let mut bytes = [0; 5000];
    random::fill(&mut bytes);
    let zeros = bytes.iter().filter(|byte| **byte == 0).count();
    assert!((1..100).contains(&zeros), "{zeros} of 5000");
    assert_ne!(random::u64(), random::u64());
    assert_ne!((random::u32(), random::u32()), (random::u32(), random::u32()));
}

#[test]
fn a_test_may_return_a_result() -> Result<(), core::num::ParseIntError> {
    let number: u32 = "42".parse()?;
    assert_eq!(number, 42);
    Ok(())
}

#[test]
#[ignore = "it is here to be listed"]
fn an_ignored_test() {}

#[test]
fn core_is_all_there() {
    let mut line = [0; 32];
    line[..6].copy_from_slice(b"Arthur");
    let copy = black_box(line);
    let name = core::str::from_utf8(&copy[..black_box(6)]).unwrap();
    let circle = core::f64::consts::TAU * black_box(6.0);
    assert_eq!(
        format!("{name} {} {circle:.3} {:?}", copy == line, 1.0f32 / 3.0),
        "Arthur true 37.699 0.33333334"
    );
    assert_eq!(
        (black_box(u64::MAX) / 7, black_box(i64::MIN) % 1_000_007),
        (2_635_249_153_387_078_802, -459_894)
    );
}

/// Each test finds the memory of a fresh machine, whichever ran before it in the same one.
mod fresh {
    use core::sync::atomic::{AtomicU32, Ordering};

    use flatland_guest::test;

    static RUNS: AtomicU32 = AtomicU32::new(0);

    fn is_the_first() {
        assert_eq!(RUNS.fetch_add(1, Ordering::Relaxed), 0, "another test has been here");
    }

    // More than there are machines at a time, on most computers.
    macro_rules! tests {
        ($($name:ident),*) => {
            $(#[test] fn $name() { is_the_first(); })*
        };
    }

    tests!(is_one, is_two, is_three, is_four, is_five, is_six, is_seven, is_eight);
}
