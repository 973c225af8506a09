//! What a page calls: functions over linear memory, without an import.
//!
//! A page writes what it gives to where [`view_input`] says, and reads what it gets at [`view_output`], which is of
//! [`view_output_len`] bytes. Both stay there until the next call. All integers are little-endian; a count of
//! instructions is an f64, which has all integers up to 2^53. A function that returns an `i32` gives 1 for yes, 0 for
//! no, and -1 if it has failed: then the output is one sentence in UTF-8. A failure inside of this code is a trap.

use std::sync::{Mutex, MutexGuard, PoisonError};

use flatland_contract::Direction;
use flatland_tools::timeline::Register;

use crate::{Line, Lines, Progress, View, ViewError};

#[derive(Debug)]
struct State {
    input: Vec<u8>,
    output: Vec<u8>,
    lines: Lines,
    view: Option<View>,
}

static STATE: Mutex<State> =
    Mutex::new(State { input: Vec::new(), output: Vec::new(), lines: Lines::EMPTY, view: None });

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    /// Ends a call: with its answer, or with a sentence.
    fn answer(&mut self, result: Result<bool, ViewError>) -> i32 {
        match result {
            Ok(answer) => answer.into(),
            Err(error) => {
                self.output = error.to_string().into_bytes();
                -1
            }
        }
    }

    /// The input as numbers of 32 bits.
    fn words(&self) -> Vec<u32> {
        let words = self.input.chunks_exact(4);
        words.map(|word| u32::from_le_bytes(word.try_into().unwrap_or_default())).collect()
    }
}

/// Calls a function of the open run. 0 if none is open.
fn with_view(call: impl FnOnce(&mut View, &mut Vec<u8>) -> Result<bool, ViewError>) -> i32 {
    let mut state = state();
    let state = &mut *state;
    state.output.clear();
    let result = state.view.as_mut().map_or(Ok(false), |view| call(view, &mut state.output));
    state.answer(result)
}

/// A count of instructions for the page.
fn number(count: u64) -> f64 {
    count as f64
}

/// Where the page puts this many bytes of input.
#[unsafe(no_mangle)]
pub extern "C" fn view_input(len: usize) -> *mut u8 {
    let mut state = state();
    state.input = vec![0; len];
    state.input.as_mut_ptr()
}

/// Where the output is.
#[unsafe(no_mangle)]
pub extern "C" fn view_output() -> *const u8 {
    state().output.as_ptr()
}

/// The size of the output in bytes.
#[unsafe(no_mangle)]
pub extern "C" fn view_output_len() -> usize {
    state().output.len()
}

/// Takes the lines of the program: `rows` of three u32 each, start, end and number; then addresses of functions.
/// Comes before [`view_open`].
#[unsafe(no_mangle)]
pub extern "C" fn view_lines(rows: usize) {
    let mut state = state();
    let words = state.words();
    let (rows, functions) = words.split_at(rows.saturating_mul(3).min(words.len()));
    let rows = rows.chunks_exact(3).map(|row| Line { start: row[0], end: row[1], number: row[2] });
    state.lines = Lines::new(rows.collect(), functions.to_vec());
    state.input = Vec::new();
}

/// Opens the recording in the input.
#[unsafe(no_mangle)]
pub extern "C" fn view_open() -> i32 {
    let mut state = state();
    state.view = None;
    let (recording, lines) = (std::mem::take(&mut state.input), state.lines.clone());
    let opened = View::open(&recording, lines).map(|view| state.view = Some(view));
    state.answer(opened.map(|()| true))
}

/// Executes so many more instructions. 1 if the run has ended.
#[unsafe(no_mangle)]
pub extern "C" fn view_execute(instructions: f64) -> i32 {
    with_view(|view, _| Ok(view.execute(instructions as u64)? == Progress::Ended))
}

/// How the run ended, in UTF-8.
#[unsafe(no_mangle)]
pub extern "C" fn view_ending() -> i32 {
    with_view(|view, output| {
        let ending = view.ending();
        output.extend_from_slice(ending.as_deref().unwrap_or_default().as_bytes());
        Ok(ending.is_some())
    })
}

/// Three counts: where the run is, where it begins, where it ends. Then four u32: the size of RAM, and where the guard, the
/// stack and what is not writable end or begin, as in `Layout`.
#[unsafe(no_mangle)]
pub extern "C" fn view_where() -> i32 {
    with_view(|view, output| {
        for count in [view.position(), view.beginning(), view.len()] {
            output.extend_from_slice(&number(count).to_le_bytes());
        }
        output.extend_from_slice(&view.memory_map().layout().to_bytes());
        Ok(true)
    })
}

/// Goes to a count of instructions.
#[unsafe(no_mangle)]
pub extern "C" fn view_go_to(count: f64) -> i32 {
    with_view(|view, _| view.go_to(count as u64).map(|()| true))
}

type Move = fn(&mut View) -> Result<bool, ViewError>;

/// The moves of [`view_move`], in order.
const MOVES: [Move; 6] =
    [View::step, View::step_back, View::next_line, View::back_line, View::step_out, View::back_out];

/// Moves: 0 and 1 by an instruction forward and back, 2 and 3 by a line, 4 and 5 out of a call. 1 if there was such a move.
#[unsafe(no_mangle)]
pub extern "C" fn view_move(which: usize) -> i32 {
    with_view(|view, _| MOVES.get(which).map_or(Ok(false), |go| go(view)))
}

/// Runs to the line of this number, or back to it. 1 if the run comes there.
#[unsafe(no_mangle)]
pub extern "C" fn view_to_line(number: u32, is_back: u32) -> i32 {
    with_view(|view, _| {
        let starts = view.lines().starts(number);
        if is_back == 0 { view.run_to(&starts) } else { view.back_to(&starts) }
    })
}

/// The same for an address.
#[unsafe(no_mangle)]
pub extern "C" fn view_to_address(address: u32, is_back: u32) -> i32 {
    with_view(|view, _| if is_back == 0 { view.run_to(&[address]) } else { view.back_to(&[address]) })
}

/// Goes to before the instruction that wrote these bytes last. 1 if there is one.
#[unsafe(no_mangle)]
pub extern "C" fn view_who_wrote(address: u32, len: u32) -> i32 {
    with_view(|view, _| view.who_wrote(address, len))
}

/// The same for a register, by its place in [`view_registers`].
#[unsafe(no_mangle)]
pub extern "C" fn view_who_wrote_register(register: usize) -> i32 {
    with_view(|view, _| {
        Register::ALL.get(register).map_or(Ok(false), |register| view.who_wrote_register(*register))
    })
}

/// The registers: ten u32, in the order eax, ecx, edx, ebx, esp, ebp, esi, edi, eflags, eip.
#[unsafe(no_mangle)]
pub extern "C" fn view_registers() -> i32 {
    with_view(|view, output| {
        let registers = view.registers()?;
        let values = Register::ALL.map(|register| register.value(&registers));
        for value in values.into_iter().chain([registers.eip]) {
            output.extend_from_slice(&value.to_le_bytes());
        }
        Ok(true)
    })
}

/// The most bytes of memory that are copied at once.
const MOST_BYTES: u32 = 1 << 20;

/// The bytes of RAM from this address on. Fewer if RAM ends before.
#[unsafe(no_mangle)]
pub extern "C" fn view_memory(address: u32, len: u32) -> i32 {
    with_view(|view, output| {
        output.resize(len.min(MOST_BYTES) as usize, 0);
        let there = view.read_memory(address, output);
        output.truncate(there);
        Ok(true)
    })
}

/// The instructions from this address on, a line for each: the address and its bytes in hexadecimal, and its text, with
/// tabs between them.
#[unsafe(no_mangle)]
pub extern "C" fn view_instructions(address: u32, most: usize) -> i32 {
    with_view(|view, output| {
        for instruction in view.instructions(address, most.min(4096)) {
            let bytes: String = instruction.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let line = format!("{:x}\t{bytes}\t{}\n", instruction.address, instruction.text);
            output.extend_from_slice(line.as_bytes());
        }
        Ok(true)
    })
}

/// The calls that led to here: addresses inside of instructions, the innermost first.
#[unsafe(no_mangle)]
pub extern "C" fn view_calls() -> i32 {
    with_view(|view, output| {
        output.extend(view.calls()?.into_iter().flat_map(u32::to_le_bytes));
        Ok(true)
    })
}

/// The bytes at ports from this one on, 16 bytes for each: the count of instructions before it, the address of its
/// instruction, the port as a u16, 1 if the guest has sent it, and the byte. 1 if there were too many to keep all.
#[unsafe(no_mangle)]
pub extern "C" fn view_transfers(from: usize) -> i32 {
    with_view(|view, output| {
        for byte in view.transfers().iter().skip(from) {
            output.extend_from_slice(&number(byte.before).to_le_bytes());
            output.extend_from_slice(&byte.address.to_le_bytes());
            output.extend_from_slice(&byte.port.to_le_bytes());
            output.extend_from_slice(&[(byte.direction == Direction::Out).into(), byte.byte]);
        }
        Ok(view.transfers_left_out() > 0)
    })
}

/// Which calls led to where the run was: for each sample its count, how many addresses, and these.
#[unsafe(no_mangle)]
pub extern "C" fn view_samples() -> i32 {
    with_view(|view, output| {
        for sample in view.samples() {
            output.extend_from_slice(&number(sample.count).to_le_bytes());
            output.extend_from_slice(&(sample.addresses.len() as u32).to_le_bytes());
            output.extend(sample.addresses.iter().flat_map(|address| address.to_le_bytes()));
        }
        Ok(true)
    })
}
