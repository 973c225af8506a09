//! The debugger as an observer, with a test client for its protocol. Sessions of the real gdb are in host/tests/gdb.
#![cfg(unix)]

mod client;
mod ends;
mod packets;
mod visits;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use client::Client;
use flatland_machine::{EngineChoice, InterruptHandle, Machine, Outcome, Program, Stop};
use flatland_tools::gdb::{Address, Debugger};
use flatland_tools::{Observer, observe};

/// 0: inc eax; 1: jmp 0
const SPIN: &[u8] = &[0x40, 0xeb, 0xfd];

/// A time limit that no step of a test reaches.
const LONG: Duration = Duration::from_secs(20);

/// The engines to test. `cargo xtask test` sets this variable if there is no KVM.
fn engines() -> &'static [EngineChoice] {
    match std::env::var_os("FLATLAND_TEST_WITHOUT_KVM") {
        Some(_) => &[EngineChoice::Soft],
        None => &[EngineChoice::Soft, EngineChoice::Kvm],
    }
}

/// The messages of all debuggers to the user.
static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn say(sentence: &str) {
    SAID.lock().expect("nobody panics with it").push(sentence.into());
}

/// A new address, and its socket.
fn address() -> (Address, PathBuf) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    // A socket's path must be short, and the folder for tests may be deep.
    let socket = std::env::temp_dir().join(format!("flatland-tools-{}-{number}", std::process::id()));
    (socket.display().to_string().parse().expect("it is a path"), socket)
}

/// A run that waits for a debugger, on a thread of its own.
struct Run {
    socket: PathBuf,
    interrupt: InterruptHandle,
    thread: JoinHandle<(Outcome, Vec<u8>)>,
}

impl Run {
    fn new(engine: EngineChoice, code: &[u8]) -> Self {
        Self::with(engine, code, None)
    }

    /// The same with another observer before the debugger.
    fn with(engine: EngineChoice, code: &[u8], other: Option<Box<dyn Observer + Send>>) -> Self {
        let (address, socket) = address();
        let program = Program::from_bytes(code.into()).expect("it is not empty");
        let (sender, receiver) = mpsc::channel();
        let thread = thread::spawn(move || {
            let builder = Machine::builder().engine(engine).output(Vec::new()).time_limit(LONG);
            let mut machine =
                builder.build(&program).unwrap_or_else(|error| panic!("this test needs KVM, and {error}"));
            let mut debugger = Debugger::listen(&address, say).expect("nobody else has the name");
            sender.send(machine.interrupt_handle()).expect("it is waited for");
            let mut observers: Vec<&mut dyn Observer> = Vec::new();
            let mut other = other;
            if let Some(other) = &mut other {
                observers.push(&mut **other);
            }
            observers.push(&mut debugger);
            let outcome = observe(&mut machine, &mut observers).expect("the host does its work");
            (outcome, machine.streams().output.bytes().to_vec())
        });
        let interrupt = receiver.recv().expect("the thread has come so far");
        Self { socket, interrupt, thread }
    }

    fn connect(&self) -> Client {
        Client::connect(&self.socket)
    }

    /// Waits for the end.
    #[track_caller]
    fn end(self) -> (Outcome, Vec<u8>) {
        wait_until("it ends", || self.thread.is_finished());
        self.thread.join().expect("it has not panicked")
    }

    /// Ends the run from outside.
    #[track_caller]
    fn interrupt(self) {
        self.interrupt.interrupt();
        let (outcome, _) = self.end();
        assert!(matches!(outcome, Outcome::Stopped(Stop::Interrupted, _)), "{outcome:?}");
    }

    /// Whether a message about this run's socket has been written.
    fn said(&self, what: &str) -> bool {
        let socket = self.socket.display().to_string();
        let said = SAID.lock().expect("nobody panics with it");
        said.iter().any(|sentence| sentence.contains(&socket) && sentence.contains(what))
    }
}

#[track_caller]
fn wait_until(what: &str, is: impl Fn() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < LONG, "it takes too long until {what}");
        thread::sleep(Duration::from_millis(2));
    }
}
