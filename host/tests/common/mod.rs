//! Running hand-assembled images in a test.

use std::time::Duration;

use flatland::engine::kvm::KvmEngine;
use flatland::{Image, Input, Machine, MemorySize, Outcome, Output, Streams};

/// What a run left behind.
#[derive(Debug, PartialEq, Eq)]
pub struct Run {
    pub outcome: Outcome,
    pub output: Vec<u8>,
    pub diagnostics: Vec<u8>,
}

/// A machine with this code at 0 and this input. Fails where there is no usable /dev/kvm, and says so.
pub fn machine(code: &[u8], input: &[u8]) -> Machine<KvmEngine> {
    let engine = KvmEngine::new(MemorySize::default())
        .unwrap_or_else(|error| panic!("this test needs KVM, and {error}"));
    let image = Image::from_bytes(code.to_vec()).expect("code is not empty");
    let streams = Streams {
        input: Input::from_bytes(input.to_vec()),
        output: Output::memory(),
        diagnostics: Output::memory(),
    };
    let mut machine = Machine::new(engine, &image, streams).expect("the code fits 16 MiB");
    // No test runs on for ever; whoever tests the limit itself sets another.
    machine.set_time_limit(Duration::from_secs(20));
    machine
}

/// Runs this code with this input to its end.
pub fn run(code: &[u8], input: &[u8]) -> Run {
    finish(machine(code, input))
}

/// Runs a machine to its end.
pub fn finish(mut machine: Machine<KvmEngine>) -> Run {
    let outcome = machine.run().expect("the host can do its work");
    let streams = machine.streams();
    Run {
        outcome,
        output: streams.output.bytes().to_vec(),
        diagnostics: streams.diagnostics.bytes().to_vec(),
    }
}

/// A run that ended like this with this output, and no diagnostics.
pub fn ended(outcome: Outcome, output: &[u8]) -> Run {
    Run { outcome, output: output.to_vec(), diagnostics: Vec::new() }
}
