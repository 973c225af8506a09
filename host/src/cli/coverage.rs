//! `--coverage`: which lines of the program were executed.

use std::path::Path;

use crate::coverage::{Counter, Coverage, Covered, Prepared, Request};
use crate::program::source_map::SourceMap;
use crate::{Machine, Outcome};

/// The coverage of a run that goes on.
pub struct Cover<'a> {
    request: Prepared,
    symbols: &'a Path,
}

impl<'a> Cover<'a> {
    /// Counts the run of this machine from here on, if that is asked for.
    pub fn begin(
        request: &Request,
        machine: &mut Machine,
        symbols: Option<&'a Path>,
    ) -> Result<Option<Self>, String> {
        if !request.is_made {
            return Ok(None);
        }
        let symbols = symbols
            .ok_or(
                "--coverage needs the lines of the program's ELF file: give that as the program or as --symbols, and for a \
                 replay as `flatland replay FILE ELF`",
            )?;
        let request = request.prepare().map_err(|error| error.to_string())?;
        machine.watch_blocks(Counter::default()).map_err(|error| error.to_string())?;
        Ok(Some(Self { request, symbols }))
    }

    /// Writes the file. Returns what to say.
    pub fn end(&self, machine: &mut Machine, ended: Option<&Outcome>) -> Result<Covered, String> {
        let Some(counter) = machine.unwatch_blocks::<Counter>().map(Counter::finish) else {
            return Err("the run was not counted: report it, with your command".into());
        };
        let map = SourceMap::open(self.symbols).map_err(|error| error.to_string())?;
        let read = |address: u32, bytes: &mut [u8]| machine.read_ram(address, bytes);
        let mut coverage = Coverage::new(&counter, &map, &read, self.request.scope());
        if let Some(Outcome::Fault(fault)) = ended {
            // It was not executed to its end, but reached.
            coverage.reach(&map, fault.location.inside(), self.request.scope());
        }
        self.request.write(coverage).map_err(|error| error.to_string())
    }
}
