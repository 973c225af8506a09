//! The loop of a run: handles each exit of the engine, and returns those that are events.

use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::Ordering;
use std::time::Duration;

use flatland_contract::Direction;
use flatland_x86::{DebugStop, Exit, Fault, FaultKind, Sent, Stops, Unsupported};

use super::moving::MoveError;
use super::{Machine, RunError};
use crate::alarm;
use crate::interrupt::{NEVER, reason};
use crate::log::NotMade;
use crate::policy::Why;
use crate::streams::Flush;
use crate::time::Instant;
use crate::{EngineKind, Event, Host, Outcome, Stop, Stopped, StreamError, Transfer, Unfinished, Wants};

impl Machine {
    /// Runs the guest to its end, or until it is [interrupted](Self::interrupt_handle). All of its output has been written
    /// when this returns.
    pub fn run(&mut self) -> Result<Outcome, RunError> {
        let wants = Wants::nothing();
        loop {
            match self.resume(&wants)? {
                Event::Ended(outcome) => return Ok(outcome),
                Event::Interrupted => return self.stop(Stop::Interrupted),
                _ => {}
            }
        }
    }

    /// Ends the run with this reason. For loops over [`Self::resume`].
    pub fn stop(&mut self, stop: Stop) -> Result<Outcome, RunError> {
        let location = self.engines.current.location()?;
        self.settle_output()?;
        match self.flush_last() {
            Ok(()) | Err(StreamError::Closed) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(Outcome::Stopped(stop, location))
    }

    /// Takes what the guest has sent and the engine has not reported. The run ends here.
    fn settle_output(&mut self) -> Result<(), RunError> {
        if self.engines.current.holds_output() {
            self.settle()?;
        }
        Ok(())
    }

    /// Writes what the guest has sent, without waiting long for a reader that does not read.
    fn flush_last(&mut self) -> Result<(), StreamError> {
        let result = self.streams.flush_within(Self::LAST_FLUSH);
        let before = self.unsent.len();
        while self.unsent.pop_front_if(|unsent| self.streams.keep(unsent.port, &unsent.data)).is_some() {}
        if self.unsent.len() < before {
            return self.streams.flush_within(Duration::ZERO).and(result);
        }
        result
    }

    /// Runs the guest to the next event, and returns it. `wants` may be different each time.
    pub fn resume(&mut self, wants: &Wants) -> Result<Event, RunError> {
        self.set_stops(wants)?;
        if !self.has_begun {
            self.has_begun = true;
            self.bus.reset();
        }
        let start = Instant::now();
        self.resumed_at = Some(start);
        // A limit beyond the clock's range counts as no limit.
        let deadline = self.limits.time.and_then(|limit| start.checked_add(limit.saturating_sub(self.used)));
        let clock = wants.clock.and_then(|time| start.checked_add(time));
        let result = self.resume_until(wants, deadline, clock);
        let taken = start.elapsed();
        self.resumed_at = None;
        self.used += taken;
        self.stats.time += taken;
        result
    }

    fn resume_until(
        &mut self,
        wants: &Wants,
        deadline: Option<Instant>,
        clock: Option<Instant>,
    ) -> Result<Event, RunError> {
        let shared = self.shared.clone();
        for (which, at) in [(&shared.limit_at, deadline), (&shared.clock_at, clock)] {
            if let Some(at) = at {
                alarm::set(&shared, which, at).map_err(RunError::Alarm)?;
            }
        }
        self.engines.current.enter()?;
        self.is_entered = true;
        // A device may panic. The thread is left as it was before that goes on.
        let result = panic::catch_unwind(AssertUnwindSafe(|| self.resume_entered(wants, deadline, clock)));
        self.engines.current.leave();
        self.is_entered = false;
        self.cancel_look();
        let result = match result {
            Ok(result) => self.deliver(result, deadline),
            Err(panic) => panic::resume_unwind(panic),
        };
        if deadline.is_some() {
            shared.limit_at.store(NEVER, Ordering::SeqCst);
        }
        if clock.is_some() {
            shared.clock_at.store(NEVER, Ordering::SeqCst);
        }
        result
    }

    /// Writes the remaining output of a run that has ended. This may be interrupted, or fail.
    fn deliver(
        &mut self,
        result: Result<Event, RunError>,
        deadline: Option<Instant>,
    ) -> Result<Event, RunError> {
        let outcome = match result {
            Ok(Event::Ended(outcome)) => outcome,
            Err(RunError::Stream(StreamError::Closed)) => Outcome::OutputClosed,
            result => return result,
        };
        let delivered = match outcome {
            Outcome::Stopped(..) => {
                self.settle_output()?;
                self.flush_last()
            }
            _ => {
                // The next call goes on from here if this one is interrupted.
                self.next = Some(outcome.clone());
                match self.flush_at_end(deadline) {
                    Ok(None) => Ok(()),
                    Ok(Some(Stop::Interrupted)) => return Ok(Event::Interrupted),
                    Ok(Some(stop)) => return self.stop(stop).map(Event::Ended),
                    Err(error) => Err(error),
                }
            }
        };
        self.cancel_flush();
        let outcome = match (outcome, delivered) {
            (outcome, Ok(())) => outcome,
            // The reader may close the output early. A fault is still reported.
            (Outcome::Halted | Outcome::EndOfInput | Outcome::Exited(_), Err(StreamError::Closed)) => {
                Outcome::OutputClosed
            }
            (outcome, Err(StreamError::Closed)) => outcome,
            (_, Err(error)) => return Err(error.into()),
        };
        if !matches!(outcome, Outcome::Stopped(..)) {
            self.next = Some(outcome.clone());
        }
        self.check_end(&outcome)?;
        Ok(Event::Ended(outcome))
    }

    /// Writes the output of a run that has ended. Returns why that was given up, if it was.
    fn flush_at_end(&mut self, deadline: Option<Instant>) -> Result<Option<Stop>, StreamError> {
        while self.streams.flush(&self.shared)? == Flush::Interrupted {
            self.shared.clear(reason::CLOCK);
            if self.shared.clear(reason::REQUESTED) {
                return Ok(Some(Stop::Interrupted));
            }
            if self.time_is_over(deadline) {
                return Ok(Some(Stop::TimeLimit(self.limits.time.unwrap_or_default())));
            }
        }
        Ok(None)
    }

    fn time_is_over(&self, deadline: Option<Instant>) -> bool {
        self.shared.clear(reason::LIMIT) && deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    fn resume_entered(
        &mut self,
        wants: &Wants,
        deadline: Option<Instant>,
        clock: Option<Instant>,
    ) -> Result<Event, RunError> {
        self.schedule_flush()?;
        self.begin_looking()?;
        let seeks_end = self.seeks_end();
        loop {
            if seeks_end {
                if self.output_is_closed_here() {
                    return Ok(Event::Ended(Outcome::OutputClosed));
                }
                self.set_stops(wants)?;
            }
            if self.shared.reasons() != 0
                && let Some(event) = self.on_reasons(deadline, clock)?
            {
                return Ok(event);
            }
            if let Some(unsent) = self.unsent.pop_front() {
                let Sent { port, width, data } = &unsent;
                let result = self.log.write(
                    &mut self.bus,
                    *port,
                    *width,
                    data,
                    &mut Host {
                        streams: &mut self.streams,
                        shared: &self.shared,
                        announces_input: false,
                        part: 0,
                    },
                );
                let transfer = made_transfer(&result, wants, *port, *width, Direction::Out, data);
                if let Err(NotMade::Device(Unfinished::Interrupted)) = result {
                    self.unsent.push_front(unsent);
                    continue;
                }
                let (port, width) = (*port, *width);
                if let Some(event) = self.finish_transfer(result, port, width, Direction::Out, transfer)? {
                    return Ok(event);
                }
                self.schedule_flush()?;
                continue;
            }
            if let Some(outcome) = self.next.clone() {
                if self.waits_at(&outcome)? {
                    self.wait_for_interrupt()?;
                    continue;
                }
                return Ok(Event::Ended(outcome));
            }
            if let Some(stop) = self.unreported.take()
                && match stop {
                    DebugStop::Watchpoint { .. } => !self.stops.watchpoints.is_empty(),
                    _ => self.stops.step,
                }
            {
                match self.on_stop(stop, wants)? {
                    Some(event) => return Ok(event),
                    None => continue,
                }
            }
            if self.waits_for_input {
                if let Some(event) = self.read_again(wants)? {
                    return Ok(event);
                }
                continue;
            }
            if self.moving.budget == 0 || self.moving.is_late {
                self.look()?;
                continue;
            }
            match self.engines.current.run()? {
                Exit::Out { port, width, data } => {
                    self.moving.budget -= 1;
                    self.stats.count(port, Direction::Out, data.len());
                    let host = &mut Host {
                        streams: &mut self.streams,
                        shared: &self.shared,
                        announces_input: false,
                        part: 0,
                    };
                    let result = self.log.write(&mut self.bus, port, width, data, host);
                    let is_plain = result.is_ok() && !wants.transfers;
                    if !is_plain {
                        let transfer = made_transfer(&result, wants, port, width, Direction::Out, data);
                        if let Err(NotMade::Device(Unfinished::Interrupted)) = result {
                            self.unsent.push_back(Sent { port, width, data: data.into() });
                            continue;
                        }
                        if let Some(event) =
                            self.finish_transfer(result, port, width, Direction::Out, transfer)?
                        {
                            return Ok(event);
                        }
                    }
                    if !self.flush_is_scheduled && self.streams.output_is_due() {
                        self.schedule_flush()?;
                    }
                }
                Exit::In { port, width, data } => {
                    self.moving.budget -= 1;
                    let host = &mut Host {
                        streams: &mut self.streams,
                        shared: &self.shared,
                        announces_input: wants.input,
                        part: 0,
                    };
                    self.input_filled = 0;
                    let result = self.log.read(&mut self.bus, port, width, data, host);
                    self.input_filled = filled(&result, data, host);
                    self.stats.count(port, Direction::In, self.input_filled);
                    let is_plain = result.is_ok() && !wants.transfers;
                    if !is_plain {
                        let transfer = made_transfer(&result, wants, port, width, Direction::In, data);
                        self.waits_for_input = matches!(
                            result,
                            Err(NotMade::Device(Unfinished::Interrupted | Unfinished::InputWanted))
                        );
                        self.input_is_announced =
                            matches!(result, Err(NotMade::Device(Unfinished::InputWanted)));
                        if let Some(event) =
                            self.finish_transfer(result, port, width, Direction::In, transfer)?
                        {
                            return Ok(event);
                        }
                    }
                    if !self.flush_is_scheduled && self.log.is_due() {
                        self.schedule_flush()?;
                    }
                }
                Exit::Halt => match self.may_wake()? {
                    true => self.next = Some(Outcome::Halted),
                    false => return Ok(Event::Ended(Outcome::Halted)),
                },
                Exit::Fault(fault) => {
                    if let FaultKind::Unsupported { .. } = fault.kind
                        && self.try_instruction()?
                    {
                        continue;
                    }
                    return Ok(Event::Ended(Outcome::Fault(fault)));
                }
                Exit::Interrupted => {
                    self.stats.interrupts += 1;
                    if self.has_timer() {
                        self.tend_timer()?;
                    }
                    if self.moving.due.take_if(|at| Instant::now() >= *at).is_some() {
                        self.look()?;
                    }
                }
                Exit::Debug(stop) => {
                    if let Some(event) = self.on_stop(stop, wants)? {
                        return Ok(event);
                    }
                }
            }
        }
    }

    /// Retries the input that the guest waits for.
    fn read_again(&mut self, wants: &Wants) -> Result<Option<Event>, RunError> {
        self.waits_for_input = false;
        // None if the registers were changed, which cancels the input.
        let Some((port, width, data)) = self.engines.current.pending_input() else { return Ok(None) };
        let host = &mut Host {
            streams: &mut self.streams,
            shared: &self.shared,
            announces_input: wants.input && !self.input_is_announced,
            part: 0,
        };
        self.input_filled = 0;
        let result = self.log.read(&mut self.bus, port, width, data, host);
        self.input_filled = filled(&result, data, host);
        self.stats.count_late(port, Direction::In, self.input_filled);
        let transfer = made_transfer(&result, wants, port, width, Direction::In, data);
        self.waits_for_input =
            matches!(result, Err(NotMade::Device(Unfinished::Interrupted | Unfinished::InputWanted)));
        self.input_is_announced |= matches!(result, Err(NotMade::Device(Unfinished::InputWanted)));
        self.finish_transfer(result, port, width, Direction::In, transfer)
    }

    /// Turns the result of a transfer into an event, if it causes one.
    #[cold]
    fn finish_transfer(
        &mut self,
        result: Result<(), NotMade>,
        port: u16,
        width: u8,
        direction: Direction,
        transfer: Option<Transfer>,
    ) -> Result<Option<Event>, RunError> {
        let outcome = match result {
            Ok(()) => None,
            // The loop in `resume_entered` handles the reason.
            Err(NotMade::Device(Unfinished::Interrupted)) => return Ok(None),
            Err(NotMade::Device(Unfinished::InputWanted)) => {
                // A prompt is to be seen. What its reader does not take now is written while the guest waits.
                self.streams.flush_within(Duration::ZERO)?;
                return Ok(Some(Event::InputWanted));
            }
            Err(NotMade::Device(Unfinished::Stream(error))) => return Err(error.into()),
            Err(NotMade::Recording(error)) => return Err(RunError::Recording(error)),
            Err(NotMade::Diverged(how)) => return Err(self.diverged(how)),
            Err(NotMade::EndOfRecording) => Some(self.end_of_recording()?),
            Err(NotMade::Device(Unfinished::Exit(status))) => Some(Outcome::Exited(status)),
            Err(NotMade::Device(Unfinished::EndOfInput)) => Some(Outcome::EndOfInput),
            Err(NotMade::Device(Unfinished::Unsupported)) => {
                let kind = FaultKind::Port { port, width, direction };
                Some(Outcome::Fault(Fault { kind, location: self.engines.current.location()? }))
            }
        };
        Ok(match transfer {
            Some(transfer) => {
                self.next = outcome;
                Some(Event::Transfer(transfer))
            }
            None => outcome.map(Event::Ended),
        })
    }

    /// The event, if somebody wants to stop there.
    fn on_stop(&mut self, stop: DebugStop, wants: &Wants) -> Result<Option<Event>, RunError> {
        if let Some(outcome) = self.sought_end_is_here()? {
            return Ok(Some(Event::Ended(outcome)));
        }
        if stop == DebugStop::InstructionLimit
            && let Some(outcome) = self.recorded_end_is_here()?
        {
            return Ok(Some(Event::Ended(outcome)));
        }
        if stop == DebugStop::InstructionLimit
            && let Some(limit) = self.limits.instructions
            && self.engines.current.instructions().is_some_and(|count| count >= limit)
        {
            let location = self.engines.current.location()?;
            return Ok(Some(Event::Ended(Outcome::Stopped(Stop::InstructionLimit(limit), location))));
        }
        let eip = self.engines.current.registers()?.eip;
        let stopped = Stopped::new(stop, wants, eip);
        // Only the search for the end stops at a breakpoint that nobody wants.
        let is_wanted = stop != DebugStop::Breakpoint || stopped.breakpoint;
        Ok(is_wanted.then_some(Event::Stopped(stopped)))
    }

    /// Handles the pending reasons. A reason is no event if the alarm was late or the event is no longer wanted.
    fn on_reasons(
        &mut self,
        deadline: Option<Instant>,
        clock: Option<Instant>,
    ) -> Result<Option<Event>, RunError> {
        if self.shared.clear(reason::REQUESTED) {
            return Ok(Some(Event::Interrupted));
        }
        if self.time_is_over(deadline) {
            let limit = self.limits.time.unwrap_or_default();
            let location = self.engines.current.location()?;
            return Ok(Some(Event::Ended(Outcome::Stopped(Stop::TimeLimit(limit), location))));
        }
        if self.shared.clear(reason::CLOCK) && clock.is_some_and(|clock| Instant::now() >= clock) {
            return Ok(Some(Event::Clock));
        }
        if self.shared.clear(reason::LOOK) {
            self.look()?;
        }
        if self.shared.clear(reason::RAISED) {
            self.take_raised()?;
        }
        if self.shared.clear(reason::TIMER) {
            self.tend_timer()?;
        }
        if self.shared.reasons() & reason::FLUSH != 0 {
            self.log.flush().map_err(RunError::Recording)?;
            if self.streams.flush_due(&self.shared)? == Flush::Done {
                self.cancel_flush();
                self.schedule_flush()?;
            }
        }
        Ok(None)
    }

    /// Schedules a flush within [`Self::FLUSH_WITHIN`] if output is buffered here or in the engine.
    fn schedule_flush(&mut self) -> Result<(), RunError> {
        let is_due = self.streams.output_is_due() || self.engines.current.holds_output() || self.log.is_due();
        if self.flush_is_scheduled || !is_due {
            return Ok(());
        }
        let at = Instant::now() + (Self::FLUSH_WITHIN - alarm::FLUSH_GRACE);
        alarm::set(&self.shared, &self.shared.flush_at, at).map_err(RunError::Alarm)?;
        self.flush_is_scheduled = true;
        Ok(())
    }

    /// Cancels the scheduled flush, because all output has been written.
    pub(super) fn cancel_flush(&mut self) {
        self.shared.flush_at.store(NEVER, Ordering::SeqCst);
        self.shared.clear(reason::FLUSH);
        self.flush_is_scheduled = false;
    }

    pub(super) fn set_stops(&mut self, wants: &Wants) -> Result<(), Unsupported> {
        let limit = self.limits.instructions.into_iter().chain(self.recorded_limit()).min();
        let sought = self.sought_breakpoint();
        let same = {
            let Stops { step, breakpoints, watchpoints, each_transfer, instructions } = &self.stops;
            let limit = wants.instructions.into_iter().chain(limit).min();
            (*step, *each_transfer, *instructions) == (wants.steps, wants.transfers, limit)
                && breakpoints.iter().eq(wants.breakpoints.iter().chain(&sought))
                && *watchpoints == wants.watchpoints
        };
        if !same {
            let mut stops = wants.stops(limit);
            stops.breakpoints.extend(sought);
            let before = std::mem::replace(&mut self.stops, stops);
            if let Err(unsupported) = self.engines.current.set_stops(&self.stops) {
                // The soft engine can do whatever KVM can.
                let is_on_kvm = self.engines.kind() == Some(EngineKind::Kvm);
                let moved = match is_on_kvm && self.engines.is_automatic() {
                    true => self.move_to_other(Why::Wanted),
                    false => Ok(false),
                };
                match moved {
                    Ok(true) => {}
                    result => {
                        self.stops = before;
                        return Err(match result {
                            Err(MoveError::Unsupported(unsupported)) => unsupported,
                            _ => unsupported,
                        });
                    }
                }
            }
        }
        Ok(())
    }
}

/// How many bytes of an input were filled.
fn filled(result: &Result<(), NotMade>, data: &[u8], host: &Host) -> usize {
    match result {
        Ok(()) => data.len(),
        Err(NotMade::Device(Unfinished::EndOfInput) | NotMade::EndOfRecording) => host.part,
        Err(_) => 0,
    }
}

/// The [`Transfer`] for an event, if the transfer was made and is wanted.
fn made_transfer(
    result: &Result<(), NotMade>,
    wants: &Wants,
    port: u16,
    width: u8,
    direction: Direction,
    data: &[u8],
) -> Option<Transfer> {
    let was_made = matches!(result, Ok(()) | Err(NotMade::Device(Unfinished::Exit(_))));
    (wants.transfers && was_made).then(|| Transfer { port, width, direction, data: data.to_vec() })
}
