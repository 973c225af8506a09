//! `--coverage`: which lines of the program were executed.

use std::path::Path;

use flatland::coverage::{Counter, Coverage, Destination, Scope};
use flatland::program::source_map::SourceMap;
use flatland::{Machine, Outcome};
use flatland_contract::status;

use crate::options::Options;

/// The coverage that the command line asks for.
pub struct Cover<'a> {
    symbols: &'a Path,
    scope: Scope,
    destination: Option<Destination>,
    /// The least part of the lines, in percent.
    least: Option<f64>,
}

impl<'a> Cover<'a> {
    /// Counts the run of this machine from here on, if that is asked for.
    pub fn begin(
        options: &Options,
        machine: &mut Machine,
        symbols: Option<&'a Path>,
    ) -> Result<Option<Self>, String> {
        if !options.covers {
            return Ok(None);
        }
        let Some(symbols) = symbols else {
            return Err(
                "--coverage needs the lines of an ELF file: give the program as one, or its --symbols".into(),
            );
        };
        let destination = options.coverage.as_ref().map(Destination::new);
        if let Some(destination) = &destination {
            destination.create().map_err(|error| cannot_write(destination, &error))?;
        }
        machine.watch_blocks(Counter::default()).map_err(|error| error.to_string())?;
        let scope = if options.covers_all { Scope::All } else { Scope::Own };
        Ok(Some(Self { symbols, scope, destination, least: options.coverage_min }))
    }

    /// The table for the terminal, and the status if it is another than that of the run. Writes the file.
    pub fn end(
        &self,
        machine: &mut Machine,
        ended: Option<&Outcome>,
    ) -> Result<(String, Option<(u8, String)>), String> {
        let Some(counter) = machine.unwatch_blocks::<Counter>().map(Counter::finish) else {
            return Err("the run was not counted: report it, with your command".into());
        };
        let map = SourceMap::open(self.symbols).map_err(|error| error.to_string())?;
        let read = |address: u32, bytes: &mut [u8]| machine.read_ram(address, bytes);
        let mut coverage = Coverage::new(&counter, &map, &read, self.scope);
        if let Some(Outcome::Fault(fault)) = ended {
            // It was not executed to its end, but reached.
            coverage.reach(&map, fault.location.inside(), self.scope);
        }
        if let Some(destination) = &self.destination {
            destination.write(&coverage).map_err(|error| cannot_write(destination, &error))?;
        }
        let too_low = coverage.too_low(self.least).map(|why| (status::COVERAGE, why));
        Ok((coverage.table(), too_low))
    }
}

fn cannot_write(destination: &Destination, error: &std::io::Error) -> String {
    format!("cannot write --coverage `{}` ({error}): give another place", destination.path().display())
}
