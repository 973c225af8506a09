//! Images of random bytes, and changed ones of an image with page tables, privilege levels, gates and floats (`seed`): each ends with
//! an outcome that has a name and can be reported, without a panic of the host and without a hang.
//!
//! The numbers come from a seed, so that a failure can be repeated. `FLATLAND_TEST_TIMES=10` asks for ten times as
//! many.

#[path = "../common/mod.rs"]
mod common;
mod seed;
#[path = "../common/system_image.rs"]
mod system_image;

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

    /// The image of `seed` with one to sixteen other bytes, most of them where there is something.
    fn changed_image(&mut self) -> Vec<u8> {
        let mut image = seed::image();
        for _ in 0..=self.next() % 16 {
            let (start, end) = match self.next() as usize % (seed::USED.len() + 1) {
                0 => (0, image.len()),
                range => seed::USED[range - 1],
            };
            let at = start + self.next() as usize % (end - start);
            image[at] = match self.next() {
                n if n.is_multiple_of(2) => image[at] ^ (1 << (n >> 8 & 7)),
                n => (n >> 16) as u8,
            };
        }
        image
    }
}

type ImageOf = fn(&mut Random) -> Vec<u8>;

/// Runs `count` images, and returns how often each kind of end occurred.
fn run(engine: EngineChoice, count: u64, image_of: ImageOf) -> BTreeMap<String, u64> {
    let mut ends = BTreeMap::new();
    for number in 0..count {
        let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ (number + 1));
        for _ in 0..8 {
            random.next();
        }
        let image = image_of(&mut random);
        let mut map = MemoryMap::from("64K".parse::<MemorySize>().expect("it is a size"));
        // Not the one of `seed`: the processor writes its tables.
        if number.is_multiple_of(2) && image.len() != seed::SIZE {
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
    println!("{count} images by {engine:?}: {ends:?}");
    ends
}

/// The factor of `FLATLAND_TEST_TIMES`.
fn times() -> u64 {
    env::var("FLATLAND_TEST_TIMES").map_or(1, |times| times.parse().expect("it is a number"))
}

#[test]
fn images_of_random_bytes_end_with_a_name_on_soft() {
    let ends = run(EngineChoice::Soft, SOFT * times(), Random::image);
    assert_eq!(ends.values().sum::<u64>(), SOFT * times());
    // Each of these ends occurs.
    for kind in
        ["exception", "outside-ram", "read-only", "port", "guard", "stack-overflow", "limit", "halted"]
    {
        assert!(ends.contains_key(kind), "{kind}: {ends:?}");
    }
}

#[test]
fn the_image_that_is_changed_does_what_it_is_for() {
    let map = MemoryMap::from("64K".parse::<MemorySize>().expect("it is a size"));
    let mut machine = machine_with(EngineChoice::Soft, map, &seed::image(), b"");
    machine.set_instruction_limit(20_000).expect("soft can count");
    assert_eq!(machine.run().expect("it runs"), Outcome::Halted);
    assert_eq!(machine.streams().output.bytes(), b"!!!!!!!");
    let (state, _) = machine.engine().processor().expect("it has a state");
    // Level 0, which `int 0x21` of level 3 has led to; paging; each unit; and eight rounds, of which seven ended with a fault.
    assert_eq!((state.segments[1].selector, state.cr0 >> 31, state.registers.ebx), (8, 1, 8));
    let mut faults = [0; 4];
    machine.engine().read_ram(0x3020, &mut faults);
    assert_eq!(u32::from_le_bytes(faults), 7);
    assert!(state.fpu.is_some_and(|fpu| fpu.xmm[1] != [0; 16]));
}

#[test]
fn changed_images_end_with_a_name_on_soft() {
    let ends = run(EngineChoice::Soft, SOFT * times(), Random::changed_image);
    assert_eq!(ends.values().sum::<u64>(), SOFT * times());
    for kind in ["exception", "outside-ram", "triple-fault", "unsupported", "limit", "halted"] {
        assert!(ends.contains_key(kind), "{kind}: {ends:?}");
    }
}

#[test]
fn images_of_random_bytes_end_with_a_name_on_kvm() {
    if env::var_os(WITHOUT_KVM).is_some() {
        return;
    }
    let ends = run(EngineChoice::Kvm, KVM * times(), Random::image);
    assert_eq!(ends.values().sum::<u64>(), KVM * times());
    assert!(ends.contains_key("exception") && ends.contains_key("outside-ram"), "{ends:?}");
}
