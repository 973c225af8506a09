//! The guest's own spans: parts of its run that it gives a name at a port.

use flatland_contract::{Direction, Port, span};
use flatland_machine::{Event, Machine, RunError, Transfer, Wants};

use super::{Lines, Names, Tracer, What, transfers};
use crate::words::visible;

/// The spans that have begun and not ended.
#[derive(Default)]
pub struct SpanTrace {
    /// What was sent of the next name, and at most a byte more than one may have.
    name: Vec<u8>,
    open: Vec<Open>,
    /// How many are open inside of the last one.
    too_deep: u64,
    has_begun: bool,
    too_deep_is_told: bool,
}

struct Open {
    name: String,
    is_wanted: bool,
}

/// How many may be open. A guest that ends none has as many as it likes.
const DEEPEST: usize = 256;

impl SpanTrace {
    fn sent(
        &mut self,
        machine: &mut Machine,
        transfer: &Transfer,
        names: &mut Names,
        lines: &mut Lines,
    ) -> Result<(), RunError> {
        for byte in &transfer.data {
            match *byte {
                span::END if self.name.is_empty() => self.end(machine, lines),
                span::END => self.begin(machine, transfer, names, lines)?,
                byte if self.name.len() <= span::LONGEST_NAME => self.name.push(byte),
                _ => {}
            }
        }
        Ok(())
    }

    fn begin(
        &mut self,
        machine: &mut Machine,
        transfer: &Transfer,
        names: &mut Names,
        lines: &mut Lines,
    ) -> Result<(), RunError> {
        self.has_begun = true;
        let name = in_words(&self.name);
        self.name.clear();
        if self.open.len() == DEEPEST {
            if !self.too_deep_is_told {
                self.too_deep_is_told = true;
                let line = format!("spans inside of {DEEPEST} others are left out: end them, or begin fewer");
                lines.write(machine, &line, &What::Remark);
            }
            self.too_deep += 1;
            return Ok(());
        }
        let address = transfers::address(machine, transfer)?;
        let (mut place, is_wanted) = names.place(machine, address)?;
        // The runtime's function is nearly the same in every line.
        place.callee = None;
        if is_wanted {
            let line = format!("{:indent$}[ {name} {place}", "", indent = self.indent());
            lines.write(machine, &line, &What::SpanBegin { name: &name, place: &place });
        }
        self.open.push(Open { name, is_wanted });
        Ok(())
    }

    fn end(&mut self, machine: &mut Machine, lines: &mut Lines) {
        if self.too_deep > 0 {
            self.too_deep -= 1;
            return;
        }
        // None is open if the guest ends too many, or if it began them before the trace.
        let Some(Open { name, is_wanted }) = self.open.pop() else { return };
        if is_wanted {
            let line = format!("{:indent$}] {name}", "", indent = self.indent());
            lines.write(machine, &line, &What::SpanEnd { name: &name });
        }
    }

    /// Counts only the spans that are shown.
    fn indent(&self) -> usize {
        2 * self.open.iter().filter(|open| open.is_wanted).count()
    }
}

/// A name that the guest has sent, which may be anything.
fn in_words(sent: &[u8]) -> String {
    let (shown, rest) = sent.split_at(sent.len().min(span::LONGEST_NAME));
    let shown: String = String::from_utf8_lossy(shown).chars().map(visible).collect();
    if rest.is_empty() { shown } else { shown + "..." }
}

impl Tracer for SpanTrace {
    fn resumes(&mut self, _: &mut Machine, _: &mut Names, _: &mut Lines) -> Result<(), RunError> {
        Ok(())
    }

    fn wants(&self) -> Wants {
        Wants { transfers: true, ..Wants::default() }
    }

    fn observe(
        &mut self,
        machine: &mut Machine,
        event: &Event,
        names: &mut Names,
        lines: &mut Lines,
    ) -> Result<(), RunError> {
        match event {
            Event::Transfer(transfer)
                if (transfer.port, transfer.direction) == (Port::Span.number(), Direction::Out) =>
            {
                self.sent(machine, transfer, names, lines)?;
            }
            Event::Ended(_) if !self.has_begun => {
                let line = "no span began: in the guest, flatland_guest::span!(\"name\") begins one";
                lines.write(machine, line, &What::Remark);
            }
            _ => {}
        }
        Ok(())
    }
}
