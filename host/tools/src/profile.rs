//! Profiles: where a run's instructions go, by call path.
//!
//! [`CallPaths`] sees each block that the soft engine executes, and follows the calls. So its counts are exact: they
//! add up to the instructions of the run. [`Sampler`] looks 400 times a second where a run on any engine is.
//! [`Profile`] has the names, and writes them for people and for programs.
//!
//! ```
//! use flatland_machine::{EngineChoice, Machine, Program};
//! use flatland_tools::profile::{CallPaths, Profile};
//!
//! // 0: mov ecx, 3; 5: call 13; 10: loop 5; 12: hlt; 13: ret
//! let code = vec![0xb9, 3, 0, 0, 0, 0xe8, 3, 0, 0, 0, 0xe2, 0xf9, 0xf4, 0xc3];
//! let mut machine = Machine::builder().engine(EngineChoice::Soft).build(&Program::from_bytes(code)?)?;
//! machine.watch_blocks(CallPaths::default())?;
//! machine.run()?;
//! let paths: CallPaths = machine.unwatch_blocks().expect("it is this one");
//! let profile = Profile::of_paths(&paths, None);
//! assert_eq!(profile.folded(), "0x00000000 8\n0x00000000;0x0000000d 3\n");
//! assert_eq!(Some(profile.total()), machine.instructions());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod firefox;
mod flame_graph;
mod paths;
mod sampler;
mod spans;
mod summary;
mod tree;

use std::error::Error;
use std::fmt;
use std::path::Path;

use flatland_machine::Machine;
use flatland_program::Symbols;
use flatland_x86::EngineError;

use crate::backtrace::{Backtrace, Start};
use crate::instruction::reader;

pub use paths::CallPaths;
pub use sampler::Sampler;
pub use summary::number;
use tree::{Builder, NameId, Names, ROOT, Tree};

impl CallPaths {
    /// For this machine, which may be in the middle of a run: then the calls that led there are those that the frame
    /// pointers tell.
    pub fn at(machine: &mut Machine, symbols: Option<&Symbols>) -> Result<Self, EngineError> {
        let start = Start::of(&machine.registers()?, symbols);
        let walk = Backtrace::walk(&start, &reader(machine.engine()));
        let table = symbols.map_or(&[][..], |symbols| symbols.table());
        let functions = table.iter().filter(|symbol| symbol.is_code).map(|symbol| symbol.start);
        let paths = Self::with_functions(functions);
        let mut addresses = walk.addresses;
        addresses.reverse();
        let entry = |address| symbols.and_then(|symbols| symbols.function_start(address)).unwrap_or(address);
        let calls = addresses.windows(2).map(|pair| (pair[0], entry(pair[1])));
        Ok(match addresses[..] {
            [outermost, _, ..] => paths.in_calls(entry(outermost), calls),
            _ => paths,
        })
    }
}

/// The most bytes of folded stacks. Deep call paths with long names have no other end.
const LONGEST_TEXT: usize = 64 << 20;

/// Where a run's instructions went, by the names of functions and lines.
#[derive(Debug)]
pub struct Profile {
    names: Names,
    tree: Tree,
    /// What was counted in each line, the most first.
    lines: Vec<((NameId, u32), u64)>,
    notes: Vec<String>,
    /// What was counted, in the plural.
    unit: &'static str,
}

impl Profile {
    /// The profile of these counts, with the names of these symbols. Without, functions are addresses.
    pub fn of_paths(paths: &CallPaths, symbols: Option<&Symbols>) -> Self {
        let mut builder = Builder::new(symbols);
        // The call path of a node's caller, by names.
        let mut callers = vec![ROOT; paths.nodes().len()];
        for (index, node) in paths.nodes().iter().enumerate().skip(1) {
            if let Some(called_at) = node.called_at {
                let caller = paths.nodes()[node.parent as usize];
                callers[index] = builder.below(callers[node.parent as usize], called_at, caller.entry);
            }
        }
        for (node, address, count) in paths.counts() {
            let (caller, entry) = (callers[node as usize], paths.nodes()[node as usize].entry);
            match address {
                Some(address) => {
                    let node = builder.below(caller, address, entry);
                    builder.count(node, address, count);
                }
                None => {
                    let name = builder.names.id("[code that changed itself]");
                    let node = builder.tree.child(caller, name);
                    builder.tree.add(node, count);
                }
            }
        }
        let folded = paths.folded();
        let notes = [
            (
                folded.recursion,
                format!("recursion deeper than {} calls is counted at that depth", paths::MOST_DEPTH),
            ),
            (
                folded.paths || builder.tree.is_full,
                "there were more call paths than fit: what they called is counted with its callers".into(),
            ),
            (
                folded.code,
                "there was more code than fits, as it changed itself: its addresses are not kept".into(),
            ),
        ];
        let notes = notes.into_iter().filter(|(is_so, _)| *is_so).map(|(_, note)| note).collect();
        Self::finish(builder, notes, "instructions")
    }

    /// The profile of these samples, with the names of the sampler's symbols.
    pub fn of_samples(sampler: &Sampler) -> Self {
        let mut builder = Builder::new(sampler.symbols());
        for (sample, count) in sampler.samples() {
            let mut node = ROOT;
            let mut last = None;
            for (index, &address) in sample.addresses.iter().enumerate().rev() {
                node = builder.below(node, address, address);
                last = Some(address);
                if sample.gap == Some(index) {
                    let name = builder.names.id("[calls left out]");
                    node = builder.tree.child(node, name);
                }
            }
            match last {
                Some(address) => builder.count(node, address, count),
                None => {
                    let name = builder.names.id("[many other places]");
                    let node = builder.tree.child(node, name);
                    builder.tree.add(node, count);
                }
            }
        }
        let notes = match sampler.broken() {
            0 => Vec::new(),
            broken => vec![format!("of {broken} of them the first calls are not known")],
        };
        Self::finish(builder, notes, "samples")
    }

    fn finish(builder: Builder, notes: Vec<String>, unit: &'static str) -> Self {
        let mut lines: Vec<_> = builder.lines.into_iter().collect();
        let names = builder.names;
        lines.sort_by(|((file, line), count), ((other_file, other_line), other_count)| {
            let place = (names.get(*file), line);
            other_count.cmp(count).then_with(|| place.cmp(&(names.get(*other_file), other_line)))
        });
        Self { names, tree: builder.tree, lines, notes, unit }
    }

    /// What was counted, in the plural: instructions or samples.
    pub fn unit(&self) -> &'static str {
        self.unit
    }

    /// The sum of all counts: the instructions of the run, while it was watched.
    pub fn total(&self) -> u64 {
        self.tree.nodes().iter().map(|node| node.own).sum()
    }

    /// What is not exactly as it was, each in a sentence.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// In this format.
    pub fn write(&self, format: Format, title: &str) -> String {
        match format {
            Format::Folded => self.folded(),
            Format::FlameGraph => self.flame_graph(title),
            Format::Firefox => self.firefox(title),
        }
    }

    /// Folded stacks: a line for each call path that executed something itself, with its functions, the outermost
    /// first, and its instructions. Other tools make flame graphs and comparisons of it.
    pub fn folded(&self) -> String {
        let mut text = String::new();
        let mut ends = vec![0];
        let mut left_out = 0;
        let mut line = String::new();
        for (node, callers) in self.tree.in_order(&self.names) {
            let node = self.tree.nodes()[node as usize];
            // Deep call paths share their beginning with the one before.
            ends.truncate(callers + 1);
            line.truncate(ends[callers]);
            if callers > 0 {
                line.push(';');
            }
            line.extend(self.names.get(node.name).chars().map(|char| if char == ';' { ':' } else { char }));
            ends.push(line.len());
            if node.own > 0 && text.len() + line.len() < LONGEST_TEXT {
                text += &format!("{line} {}\n", node.own);
            } else {
                left_out += node.own;
            }
        }
        if left_out > 0 {
            text += &format!("[more call paths than fit] {left_out}\n");
        }
        text
    }
}

/// How a profile is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// Folded stacks: [`Profile::folded`].
    Folded,
    /// A flame graph: [`Profile::flame_graph`].
    FlameGraph,
    /// For Firefox's profiler: [`Profile::firefox`].
    Firefox,
}

impl Format {
    /// The format of a file with this name, by its extension.
    pub fn of(path: &Path) -> Result<Self, UnknownFormat> {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("folded") => Ok(Self::Folded),
            Some("svg") => Ok(Self::FlameGraph),
            Some("json") => Ok(Self::Firefox),
            _ => Err(UnknownFormat),
        }
    }
}

/// No format has this extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownFormat;

impl fmt::Display for UnknownFormat {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(
            "no profile by its name: end it with .svg (a flame graph), .folded (folded stacks) or .json (Firefox's \
             profiler)",
        )
    }
}

impl Error for UnknownFormat {}
