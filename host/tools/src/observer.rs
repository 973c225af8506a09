//! Several tools that observe one run.

use flatland_machine::{Event, Machine, Outcome, RunError, Stop, Wants};

/// Observes a run; may change registers, memory and breakpoints.
///
/// ```
/// use flatland_machine::{EngineChoice, Event, Machine, Outcome, Program, RunError, Wants};
/// use flatland_tools::{Observer, Verdict, observe};
///
/// /// Counts what the guest sends and receives.
/// struct Counter(usize);
///
/// impl Observer for Counter {
///     fn wants(&self) -> Wants {
///         Wants { transfers: true, ..Wants::default() }
///     }
///
///     fn observe(&mut self, _machine: &mut Machine, event: &Event) -> Result<Verdict, RunError> {
///         if let Event::Transfer(transfer) = event {
///             self.0 += transfer.data.len();
///         }
///         Ok(Verdict::Continue)
///     }
/// }
///
/// // in al, 0xe9; out 0xe9, al; hlt
/// let program = Program::from_bytes(vec![0xe4, 0xe9, 0xe6, 0xe9, 0xf4])?;
/// let mut machine = Machine::builder().engine(EngineChoice::Soft).input("a").build(&program)?;
/// let mut counter = Counter(0);
/// assert_eq!(observe(&mut machine, &mut [&mut counter])?, Outcome::Halted);
/// assert_eq!(counter.0, 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Observer {
    /// The run is about to begin.
    fn begins(&mut self, _machine: &mut Machine) -> Result<Verdict, RunError> {
        Ok(Verdict::Continue)
    }

    /// The run is about to be resumed. Every observer has seen the last event, and the machine does not change any
    /// more.
    fn resumes(&mut self, _machine: &mut Machine) -> Result<(), RunError> {
        Ok(())
    }

    /// The events it wants next. Called before each [`Machine::resume`].
    fn wants(&self) -> Wants;

    /// An event happened, which another observer may have wanted. The observer may read and change the machine, and
    /// the run waits until it returns.
    ///
    /// The last event is [`Event::Ended`], unless an observer ends the run before. If an observer then returns
    /// [`Verdict::Revive`], the run goes on.
    fn observe(&mut self, machine: &mut Machine, event: &Event) -> Result<Verdict, RunError>;
}

/// An observer's decision on an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// The run continues.
    Continue,
    /// The run ends here, for this reason.
    End(Stop),
    /// The run has ended, but goes on: the observer has changed the machine's state.
    Revive,
}

/// Runs to the end with these observers. An interrupt ends the run, as in [`Machine::run`].
///
/// The observers see each event in this order. The first one that ends the run stops this: those after it do not see
/// the event. All others then see the end of the run as their last event.
pub fn observe(machine: &mut Machine, observers: &mut [&mut dyn Observer]) -> Result<Outcome, RunError> {
    for index in 0..observers.len() {
        if let Verdict::End(stop) = observers[index].begins(machine)? {
            return end(machine, observers, index, stop);
        }
    }
    loop {
        for observer in observers.iter_mut() {
            observer.resumes(machine)?;
        }
        let wants = observers.iter().fold(Wants::nothing(), |wants, observer| wants.or(&observer.wants()));
        let mut event = machine.resume(&wants)?;
        if event == Event::Interrupted {
            event = Event::Ended(machine.stop(Stop::Interrupted)?);
        }
        let mut revived = false;
        for index in 0..observers.len() {
            match observers[index].observe(machine, &event)? {
                Verdict::Continue => {}
                Verdict::Revive => revived = true,
                // It has ended already, with a reason of its own.
                Verdict::End(_) if matches!(event, Event::Ended(_)) => {}
                Verdict::End(stop) => return end(machine, observers, index, stop),
            }
        }
        match event {
            Event::Ended(outcome) if !revived => return Ok(outcome),
            _ => {}
        }
    }
}

/// Ends the run for one observer, and tells the others.
fn end(
    machine: &mut Machine,
    observers: &mut [&mut dyn Observer],
    by: usize,
    stop: Stop,
) -> Result<Outcome, RunError> {
    let outcome = machine.stop(stop)?;
    let event = Event::Ended(outcome.clone());
    for (index, observer) in observers.iter_mut().enumerate() {
        if index != by {
            observer.observe(machine, &event)?;
        }
    }
    Ok(outcome)
}
