//! What std has, as this runtime has it. What needs input or arguments is tested from outside: xtask/tests.

#![no_std]
#![no_main]

use core::fmt;
use core::hint::black_box;
use core::time::Duration;

use flatland_guest::alloc::{format, string::String, vec::Vec};
use flatland_guest::io::{self, BufRead, Read, Write};
use flatland_guest::{args, dbg, eprintln, print, println, random, test, time};

#[test]
fn input_ends_where_there_is_none() {
    assert_eq!(io::stdin().lines().count(), 0);
    let mut input = io::stdin();
    assert_eq!(input.read(&mut [0; 10]), Ok(0));
    assert_eq!(input.read(&mut [0; 10_000]), Ok(0));
    assert_eq!(input.fill_buf(), Ok(&[][..]));
    assert_eq!(input.read_line(&mut String::new()), 0);
    assert_eq!(input.read_to_end(&mut Vec::new()), 0);
    assert_eq!(input.read_to_string(&mut String::new()), Ok(0));
}

#[test]
#[should_panic(expected = "standard input is in use: hand on what the first `stdin()` returned, or drop it")]
fn there_is_one_input_at_a_time() {
    let _first = io::stdin();
    let _second = io::stdin();
}

#[test]
fn output_takes_everything() {
    assert_eq!(io::stdout().write(&[b'x'; 1000]), Ok(1000));
    assert_eq!(io::stdout().write_all(b"\n"), Ok(()));
    assert_eq!(writeln!(io::stderr(), "{}", 1), Ok(()));
    print!("{}", format!("{:>300}", "long"));
    println!();
    eprintln!("{:?}", Some(1.5));
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
    assert_eq!(args().len(), 0);
}

#[test]
fn time_goes_forward() {
    let before = time::elapsed();
    assert!(time::elapsed() >= before);
    assert!(before < Duration::from_secs(10));
    // This was written in 2026.
    assert!(time::since_unix_epoch() > Duration::from_secs(1_767_225_600));
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
