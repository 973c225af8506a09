//! Going through a run: by instruction, line and call, forward and back.

use flatland_machine::{RunError, Wants};
use flatland_tools::instruction::reader;
use flatland_tools::timeline::{Register, Target};
use flatland_x86::instruction::decode;
use flatland_x86::{Registers, WatchKind, Watchpoint};
use iced_x86::FlowControl;

use crate::view::{View, ViewError};

/// The longest `call`, in bytes.
const LONGEST_CALL: u32 = 7;

/// How many instructions of one line are gone through, at most. A longer one is left in its middle.
const MOST_OF_LINE: usize = 100_000;

/// How far back the instructions of a line are looked for at first.
const FIRST_WINDOW: u64 = 64;

/// An instruction that was executed, and what it does to calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Executed {
    count: u64,
    eip: u32,
    flow: Flow,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    /// The address behind it.
    Call(u32),
    Return,
    Other,
}

impl View {
    /// Goes to the first point with this count of instructions, or to the nearest end of the run.
    pub fn go_to(&mut self, count: u64) -> Result<(), ViewError> {
        Ok(self.timeline.go_to(&mut self.machine, count)?)
    }

    /// Executes one instruction. Returns `false` at the end.
    pub fn step(&mut self) -> Result<bool, ViewError> {
        let was = self.timeline.is_in_the_past();
        if was {
            self.resume(&Wants { steps: true, ..Wants::default() })?;
        }
        Ok(was)
    }

    /// Goes to the instruction before this one. Returns `false` at the beginning.
    pub fn step_back(&mut self) -> Result<bool, ViewError> {
        Ok(self.timeline.step_back(&mut self.machine)?)
    }

    /// Goes to the next line that is executed, over calls. Returns `false` if the run ends before.
    pub fn next_line(&mut self) -> Result<bool, ViewError> {
        let line = self.line_here()?;
        for _ in 0..MOST_OF_LINE {
            let before = self.registers()?;
            let flow = self.flow_at(before.eip);
            if !self.step()? {
                return Ok(false);
            }
            if let Flow::Call(behind) = flow
                && self.registers()?.eip != behind
                && !self.run_until(&[behind], |registers| registers.esp >= before.esp)?
            {
                return Ok(false);
            }
            if self.line_here()?.is_some_and(|here| Some(here) != line) {
                break;
            }
        }
        Ok(true)
    }

    /// Goes back to where the line before this one begins, over calls. Returns `false` if there is none.
    pub fn back_line(&mut self) -> Result<bool, ViewError> {
        let start = self.position();
        let (mut from, mut window) = (start, FIRST_WINDOW);
        // The line that is gone to, and where its first instruction is as far as is known.
        let mut line = None;
        let mut first = None;
        let mut looked_at = 0;
        'search: while looked_at < MOST_OF_LINE && from > self.beginning() {
            let executed = self.executed_before(from, window)?;
            let mut rest = &executed[..];
            while let Some((last, before)) = rest.split_last() {
                (rest, from) = (before, last.count);
                looked_at += 1;
                let mut last = *last;
                if last.flow == Flow::Return {
                    // Over the whole call: to the instruction that made it.
                    self.go_to(last.count)?;
                    let Some(call) = self.call_of_this()? else { break 'search };
                    let at = rest.partition_point(|executed| executed.count < call);
                    rest = &rest[..at];
                    from = call;
                    let eip = self.registers()?.eip;
                    last = Executed { count: call, eip, flow: Flow::Other };
                }
                match (self.lines().at(last.eip), line) {
                    (Some(here), None) => (line, first) = (Some(here), Some(last.count)),
                    (Some(here), Some(line)) if here == line => first = Some(last.count),
                    (Some(_), Some(_)) => break 'search,
                    (None, _) => {}
                }
                if let Flow::Call(_) = last.flow
                    && line.is_some()
                {
                    break 'search;
                }
            }
            window = (window * 4).min(MOST_OF_LINE as u64);
        }
        self.go_to(first.unwrap_or(start))?;
        Ok(first.is_some())
    }

    /// Goes to behind the call that led here. Returns `false` if there is none, or the run ends before it returns.
    pub fn step_out(&mut self) -> Result<bool, ViewError> {
        let esp = self.registers()?.esp;
        let Some(behind) = self.return_address()? else { return Ok(false) };
        self.run_until(&[behind], |registers| registers.esp > esp)
    }

    /// Goes back to the call that led here. Returns `false` if there is none.
    pub fn back_out(&mut self) -> Result<bool, ViewError> {
        Ok(self.call_of_this()?.is_some())
    }

    /// Runs to the next of these addresses. Returns `false` if the run ends before.
    pub fn run_to(&mut self, addresses: &[u32]) -> Result<bool, ViewError> {
        self.run_until(addresses, |_| true)
    }

    /// Goes back to the last time that the run was at one of these addresses. Returns `false` if it never was, and stays.
    pub fn back_to(&mut self, addresses: &[u32]) -> Result<bool, ViewError> {
        let breakpoints = addresses.to_vec();
        self.go_to_last(Target::Stops { breakpoints, watchpoints: Vec::new() })
    }

    /// Goes back to before the instruction that wrote one of these bytes last. Returns `false` if none did, and stays.
    pub fn who_wrote(&mut self, address: u32, len: u32) -> Result<bool, ViewError> {
        let watchpoints = vec![Watchpoint { address, len, kind: WatchKind::Write }];
        self.go_to_last(Target::Stops { breakpoints: Vec::new(), watchpoints })
    }

    /// The same for a register.
    pub fn who_wrote_register(&mut self, register: Register) -> Result<bool, ViewError> {
        self.go_to_last(Target::Register(register))
    }

    fn go_to_last(&mut self, target: Target) -> Result<bool, ViewError> {
        let Some(found) = self.timeline.find(&mut self.machine, target)? else { return Ok(false) };
        self.timeline.go_to_found(&mut self.machine, &found)?;
        Ok(true)
    }

    /// Runs on, but not beyond what has been executed. Returns whether there was an event.
    fn resume(&mut self, wants: &Wants) -> Result<bool, RunError> {
        Ok(self.timeline.resume_in_the_past(&mut self.machine, wants)?.is_some())
    }

    /// Runs to one of these addresses with such registers.
    fn run_until(
        &mut self,
        addresses: &[u32],
        is_it: impl Fn(&Registers) -> bool,
    ) -> Result<bool, ViewError> {
        let wants = Wants { breakpoints: addresses.to_vec(), ..Wants::default() };
        while self.resume(&wants)? {
            if is_it(&self.registers()?) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn line_here(&mut self) -> Result<Option<u32>, ViewError> {
        let eip = self.registers()?.eip;
        Ok(self.lines().at(eip))
    }

    fn flow_at(&mut self, address: u32) -> Flow {
        let Some((decoded, _)) = decode(address, &reader(self.machine.engine())) else { return Flow::Other };
        match decoded.flow_control() {
            FlowControl::Call | FlowControl::IndirectCall => Flow::Call(decoded.next_ip32()),
            FlowControl::Return => Flow::Return,
            _ => Flow::Other,
        }
    }

    /// The last instructions before this count, at most so many, in order.
    fn executed_before(&mut self, count: u64, most: u64) -> Result<Vec<Executed>, ViewError> {
        self.go_to(count.saturating_sub(most).max(self.beginning()))?;
        let mut executed = Vec::new();
        while self.position() < count {
            let eip = self.registers()?.eip;
            executed.push(Executed { count: self.position(), eip, flow: self.flow_at(eip) });
            if !self.step()? {
                break;
            }
        }
        // The parts of a repeated instruction have the same count.
        executed.dedup_by_key(|executed| executed.count);
        Ok(executed)
    }

    /// The address behind the call that led here.
    fn return_address(&mut self) -> Result<Option<u32>, ViewError> {
        Ok(self.calls()?.get(1).and_then(|inside| inside.checked_add(1)))
    }

    /// Goes back to the call that led here, and returns the count there. Stays if there is none.
    fn call_of_this(&mut self) -> Result<Option<u64>, ViewError> {
        let (start, esp) = (self.position(), self.registers()?.esp);
        let Some(behind) = self.return_address()? else { return Ok(None) };
        // A call may be of any length.
        let ends_there = |view: &mut Self, address| view.flow_at(address) == Flow::Call(behind);
        let first = behind.saturating_sub(LONGEST_CALL);
        let calls: Vec<_> = (first..behind).filter(|address| ends_there(self, *address)).collect();
        while !calls.is_empty() && self.back_to(&calls)? {
            if self.registers()?.esp > esp {
                return Ok(Some(self.position()));
            }
        }
        self.go_to(start)?;
        Ok(None)
    }
}
