//! Images of random bytes: each ends with an outcome that has a name and can be reported, without a panic of the host
//! and without a hang.
//!
//! The numbers come from a seed, so that a failure can be repeated. `FLATLAND_TEST_TIMES=10` asks for ten times as
//! many.

mod common;

use std::collections::BTreeMap;
use std::env;
use std::time::Duration;

use common::{WITHOUT_KVM, machine_with};
use flatland::EngineChoice;
use flatland::report::Run;
use flatland::report::{Backtraces, Paint, Report};
use flatland::x86::Segment;
use flatland::{MemoryMap, MemorySize, Outcome, Stop};

/// How many images there are for the soft engine.
const SOFT: u64 = 10_000;
/// And for KVM, where each is a virtual machine of its own.
const KVM: u64 = 500;

/// Marsaglia's xorshift (2003).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Random bytes. In half of the images a third of them is from `LIKELY`, so that the code runs longer.
    fn image(&mut self) -> Vec<u8> {
        const LIKELY: &[u8] = &[0x55, 0x89, 0xe5, 0x50, 0x58, 0xe8, 0xc3, 0xeb, 0x74, 0xe6, 0xe4, 0xee, 0x0f];
        let len = 16 + self.next() % 2000;
        let is_like_code = self.next().is_multiple_of(2);
        let byte = |random: &mut Self| match random.next() {
            n if is_like_code && n.is_multiple_of(3) => LIKELY[(n >> 8) as usize % LIKELY.len()],
            n => (n >> 16) as u8,
        };
        (0..len).map(|_| byte(self)).collect()
    }
}

/// Runs `count` images, and returns how often each kind of end occurred.
fn run(engine: EngineChoice, count: u64) -> BTreeMap<String, u64> {
    let mut ends = BTreeMap::new();
    for number in 0..count {
        let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ (number + 1));
        for _ in 0..8 {
            random.next();
        }
        let image = random.image();
        let mut map = MemoryMap::from("64K".parse::<MemorySize>().expect("it is a size"));
        if number.is_multiple_of(2) {
            let segment = Segment { start: 0, end: image.len() as u64, writable: false };
            map = map.protecting(&[segment]).expect("it fits");
        }
        let mut machine = machine_with(engine, map, &image, b"some input");
        match engine {
            EngineChoice::Soft => machine.set_instruction_limit(20_000).expect("soft can count"),
            _ => machine.set_time_limit(Duration::from_millis(10)),
        }
        let outcome = machine.run().unwrap_or_else(|error| panic!("image {number}: {error}"));
        let report = Report::new(&outcome, machine.engine(), None, Backtraces::Always);
        let is_told = report.message().is_some();
        match &outcome {
            Outcome::Fault(_) | Outcome::Stopped(..) => assert!(is_told, "image {number}: {outcome:?}"),
            _ => {}
        }
        let body = report.body(Paint::COLOURED);
        assert!(body.lines().count() < 100, "image {number}: {body}");
        let run = Run {
            image: "random".as_ref(),
            symbols: None,
            stats: machine.stats().clone(),
            total: Duration::ZERO,
            failure: None,
        };
        let json: serde_json::Value =
            serde_json::from_str(&report.json(&run, machine.engine())).expect("it is JSON");
        let kind = match &outcome {
            Outcome::Fault(_) => json["fault"]["kind"].as_str().expect("a fault has a kind").to_owned(),
            Outcome::Stopped(Stop::InstructionLimit(_) | Stop::TimeLimit(_), _) => "limit".into(),
            _ => json["outcome"].as_str().expect("an outcome has a name").to_owned(),
        };
        *ends.entry(kind).or_insert(0) += 1;
    }
    println!("{count} images of random bytes by {engine:?}: {ends:?}");
    ends
}

/// The factor of `FLATLAND_TEST_TIMES`.
fn times() -> u64 {
    env::var("FLATLAND_TEST_TIMES").map_or(1, |times| times.parse().expect("it is a number"))
}

#[test]
fn images_of_random_bytes_end_with_a_name_on_soft() {
    let ends = run(EngineChoice::Soft, SOFT * times());
    assert_eq!(ends.values().sum::<u64>(), SOFT * times());
    // Each of these ends occurs.
    for kind in
        ["exception", "outside-ram", "read-only", "port", "guard", "stack-overflow", "limit", "halted"]
    {
        assert!(ends.contains_key(kind), "{kind}: {ends:?}");
    }
}

#[test]
fn images_of_random_bytes_end_with_a_name_on_kvm() {
    if env::var_os(WITHOUT_KVM).is_some() {
        return;
    }
    let ends = run(EngineChoice::Kvm, KVM * times());
    assert_eq!(ends.values().sum::<u64>(), KVM * times());
    assert!(ends.contains_key("exception") && ends.contains_key("outside-ram"), "{ends:?}");
}
