//! Measures what going back in time costs: a run of 1,000,000,000 instructions on the soft engine, with its past kept
//! and without, one step back, and the search for a write half-way back.
//!
//! `cargo bench --package flatland-vmm --bench past`. It checks that it comes to the right places, and asserts nothing
//! else: a timing is not a test.

use std::collections::VecDeque;
use std::error::Error;
use std::time::{Duration, Instant};

use flatland::timeline::{Target, Timeline};
use flatland::x86::{WatchKind, Watchpoint};
use flatland::{
    EngineChoice, Event, Machine, MemorySize, Observer, Outcome, Program, RunError, Verdict, Wants, observe,
};

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// How many instructions a run has.
const INSTRUCTIONS: u64 = 1_000_000_000;

/// How many places a step back is made from.
const PLACES: u64 = 40;

/// How many steps back are made at each. The first is the slow one.
const STEPS: u64 = 3;

/// What each guest writes to once, half-way.
const MARK: u32 = 0x8000;

/// A loop that writes to [`MARK`] once, half-way.
struct Guest {
    name: &'static str,
    /// The loop's body: it may change any register but ecx, which counts down.
    body: &'static [u8],
    /// How many instructions the body has.
    len: u32,
}

const GUESTS: [Guest; 2] = [
    // push ecx; call 0; pop eax; pop eax; inc dword [0x9000]; add ebx, eax
    Guest {
        name: "calls and a counter in memory",
        body: &[0x51, 0xe8, 0, 0, 0, 0, 0x58, 0x58, 0xff, 0x05, 0x00, 0x90, 0, 0, 0x01, 0xc3],
        len: 6,
    },
    // imul eax, eax, 1664525; add eax, 1013904223; mov ebx, eax; shr ebx, 6; and ebx, ~3; or ebx, 0x10000;
    // mov [ebx], eax
    Guest {
        name: "writes all over 32 MiB, in no order",
        body: &[
            0x69, 0xc0, 0x0d, 0x66, 0x19, 0x00, 0x05, 0x5f, 0xf3, 0x6e, 0x3c, 0x89, 0xc3, 0xc1, 0xeb, 0x06,
            0x83, 0xe3, 0xfc, 0x81, 0xcb, 0x00, 0x00, 0x01, 0x00, 0x89, 0x03,
        ],
        len: 7,
    },
];

impl Guest {
    /// The program, and how many instructions it has executed behind its write to [`MARK`], and in all.
    fn program(&self) -> Result<(Program, u64, u64)> {
        let half = u32::try_from(INSTRUCTIONS / 2)? / (self.len + 2);
        let mut code = Vec::new();
        // mov esp, 0x7000
        code.extend([0xbc, 0x00, 0x70, 0, 0]);
        self.add_loop(&mut code, half)?;
        // inc dword [MARK]
        code.extend([0xff, 0x05]);
        code.extend(MARK.to_le_bytes());
        self.add_loop(&mut code, half)?;
        // hlt
        code.push(0xf4);
        let each = 1 + u64::from(half) * u64::from(self.len + 2);
        Ok((Program::from_bytes(code)?, 1 + each + 1, 1 + each + 1 + each + 1))
    }

    fn add_loop(&self, code: &mut Vec<u8>, count: u32) -> Result<()> {
        // mov ecx, COUNT
        code.push(0xb9);
        code.extend(count.to_le_bytes());
        let begin = code.len();
        code.extend(self.body);
        // dec ecx; jnz BEGIN
        let jump = i8::try_from(self.body.len() + 3)?;
        code.extend([0x49, 0x75, -jump as u8]);
        debug_assert_eq!(code.len() - jump as usize, begin);
        Ok(())
    }

    fn machine(&self, program: &Program) -> Result<Machine> {
        Ok(Machine::builder().engine(EngineChoice::Soft).memory(MemorySize::mib(64)).build(program)?)
    }
}

fn main() -> Result<()> {
    for guest in &GUESTS {
        measure(guest)?;
    }
    Ok(())
}

fn measure(guest: &Guest) -> Result<()> {
    let (program, mark, count) = guest.program()?;
    let mut machine = guest.machine(&program)?;
    let start = Instant::now();
    check(machine.run()? == Outcome::Halted, "the guest halts")?;
    let forward = start.elapsed();
    drop(machine);

    let mut machine = guest.machine(&program)?;
    let mut timeline = Timeline::new(&mut machine)?;
    let start = Instant::now();
    observe(&mut machine, &mut [&mut timeline])?;
    let kept = start.elapsed();
    check(machine.instructions() == Some(count), "the guest executes as many instructions as it should")?;
    println!("{}: {count} instructions in {}", guest.name, milliseconds(forward));
    println!("  the same, with its past kept: {:.2} of that", ratio(kept, forward));

    let watchpoints = vec![Watchpoint { address: MARK, len: 4, kind: WatchKind::Write }];
    let start = Instant::now();
    let found = timeline.find(&mut machine, Target::Stops { breakpoints: Vec::new(), watchpoints })?;
    let found = found.ok_or("the write is not found")?;
    timeline.go_to_found(&mut machine, &found)?;
    let search = start.elapsed();
    check(machine.instructions() == Some(mark - 1), "the search goes to the write half-way")?;
    println!("  back from its end to a write half-way: {:.2} of that", ratio(search, forward));

    let mut times = Vec::new();
    for place in places(count) {
        timeline.go_to(&mut machine, place)?;
        times.extend(steps_back(&mut timeline, &mut machine)?);
    }
    println!("  a step back in the past: {}", quantiles(times));
    println!("  {} checkpoints: {} MiB", timeline.checkpoints(), timeline.bytes() >> 20);
    drop((machine, timeline));

    let mut machine = guest.machine(&program)?;
    let timeline = Timeline::new(&mut machine)?;
    let mut tourist = Tourist { timeline, places: places(count).collect(), times: Vec::new(), bytes: 0 };
    observe(&mut machine, &mut [&mut tourist])?;
    check(tourist.places.is_empty(), "the run comes to all places")?;
    println!("  a step back while the run goes on: {}", quantiles(tourist.times));
    println!("  at most {} MiB of checkpoints", tourist.bytes >> 20);
    Ok(())
}

/// The places that steps back are made from. The last one is the end.
fn places(count: u64) -> impl Iterator<Item = u64> {
    (1..=PLACES).map(move |place| count * place / PLACES)
}

/// Steps back, and returns the time of each. The first one is the slow one.
fn steps_back(timeline: &mut Timeline, machine: &mut Machine) -> Result<Vec<Duration>, RunError> {
    let mut times = Vec::new();
    for _ in 0..STEPS {
        let before = machine.instructions();
        let start = Instant::now();
        timeline.step_back(machine)?;
        times.push(start.elapsed());
        assert_eq!(machine.instructions().map(|count| count + 1), before, "a step back is one instruction");
    }
    Ok(times)
}

/// Pauses a run at places, and steps back there.
struct Tourist {
    timeline: Timeline,
    /// Those it has not been to.
    places: VecDeque<u64>,
    times: Vec<Duration>,
    /// The most that checkpoints took.
    bytes: usize,
}

impl Observer for Tourist {
    fn resumes(&mut self, machine: &mut Machine) -> Result<(), RunError> {
        self.timeline.resumes(machine)
    }

    fn wants(&self) -> Wants {
        let place = Wants { instructions: self.places.front().copied(), ..Wants::default() };
        place.or(&self.timeline.wants())
    }

    fn observe(&mut self, machine: &mut Machine, event: &Event) -> Result<Verdict, RunError> {
        self.timeline.observe(machine, event)?;
        if self.places.front().copied() == machine.instructions() {
            self.places.pop_front();
            self.times.extend(steps_back(&mut self.timeline, machine)?);
        }
        self.bytes = self.bytes.max(self.timeline.bytes());
        Ok(Verdict::Continue)
    }
}

fn check(is_so: bool, what: &str) -> Result<()> {
    if is_so { Ok(()) } else { Err(format!("it is not so that {what}").into()) }
}

/// The median and the longest, in words.
fn quantiles(mut times: Vec<Duration>) -> String {
    times.sort();
    let (median, longest) = (times[times.len() / 2], times[times.len() - 1]);
    format!("median {}, at most {} of {}", milliseconds(median), milliseconds(longest), times.len())
}

fn milliseconds(time: Duration) -> String {
    format!("{:.3} ms", time.as_secs_f64() * 1e3)
}

fn ratio(time: Duration, to: Duration) -> f64 {
    time.as_secs_f64() / to.as_secs_f64()
}
