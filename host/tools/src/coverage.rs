//! Which lines, functions and branches of a program were executed, and how often. The program is not changed for it.

mod counter;
mod html;
mod json;
mod lcov;
mod panics;
mod request;
mod scanner;
mod text;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};

use flatland_program::source_map::{Owner, Row, SourceFile, SourceMap};
use flatland_program::without_types;
use flatland_x86::instruction::Read;

use crate::report::read_source;
pub use counter::{Counter, Jump};
pub use json::NoCoverage;
use panics::Panics;
pub use request::{CannotUse, Covered, NoPercent, Percent, Prepared, Request};

/// Whose code is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// The program's own.
    #[default]
    Own,
    /// That of libraries and of the standard library, too.
    All,
}

/// The coverage of the files of one or more programs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// The files with code, by their paths as printed.
    pub files: BTreeMap<String, FileCoverage>,
}

/// The coverage of a source file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileCoverage {
    /// Its path at compile time.
    pub path: std::path::PathBuf,
    /// How often each line with code was executed.
    pub lines: BTreeMap<u32, u64>,
    /// The functions, by the line that they are declared at.
    pub functions: BTreeMap<u32, FunctionCoverage>,
    /// The conditional jumps of each line.
    pub branches: BTreeMap<u32, Vec<Branch>>,
}

/// The coverage of a function: of all its copies, whatever their types.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FunctionCoverage {
    /// Its name, with its path.
    pub name: String,
    /// How often it was called.
    pub calls: u64,
}

/// A conditional jump of a line: both ways that it may go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Branch {
    /// How often it was taken.
    pub taken: u64,
    /// How often it was not.
    pub not_taken: u64,
}

/// How many there are, and how many of them were executed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ratio {
    /// How many were executed.
    pub covered: usize,
    /// How many there are.
    pub all: usize,
}

impl Ratio {
    /// In percent. Of nothing, all is covered.
    pub fn percent(self) -> f64 {
        if self.all == 0 { 100.0 } else { 100.0 * self.covered as f64 / self.all as f64 }
    }

    fn of(counts: impl Iterator<Item = u64>) -> Self {
        counts.fold(Self::default(), |Self { covered, all }, count| Self {
            covered: covered + usize::from(count > 0),
            all: all + 1,
        })
    }
}

impl std::ops::Add for Ratio {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { covered: self.covered + other.covered, all: self.all + other.all }
    }
}

impl Coverage {
    /// The coverage of a program whose instructions were executed so often. `read` reads its code.
    pub fn new(counter: &Counter, map: &SourceMap, read: Read, scope: Scope) -> Self {
        let mut coverage = Self::default();
        let mut files: BTreeMap<u32, FileCoverage> = BTreeMap::new();
        let is_looked_at = |file: u32| {
            let file: Option<&SourceFile> = map.files.get(file as usize);
            file.is_some_and(|file| scope == Scope::All || file.owner == Owner::Program)
        };
        let panics = Panics::new(map);
        for (&(file, line), count) in &lines(counter, map, &assertions(counter, map, &panics, read)) {
            if is_looked_at(file) {
                files.entry(file).or_default().lines.insert(line, *count);
            }
        }
        for &(file, line) in map.dropped_lines.iter().filter(|(file, _)| is_looked_at(*file)) {
            files.entry(file).or_default().lines.entry(line).or_insert(0);
        }
        for instance in map.instances.iter().filter(|instance| is_looked_at(instance.file)) {
            let functions = &mut files.entry(instance.file).or_default().functions;
            let function = functions.entry(instance.line).or_default();
            if function.name.is_empty() {
                function.name = without_types(&instance.name).into();
            }
            function.calls += instance.entry.map_or(0, |entry| counter.count(entry));
        }
        // In optimized code the line of the declaration may have the code of a few copies only.
        for FileCoverage { lines, functions, .. } in files.values_mut() {
            for (line, function) in functions {
                if let Some(count) = lines.get_mut(line) {
                    *count = (*count).max(function.calls);
                }
            }
        }
        for (address, Jump { taken, not_taken, targets }) in counter.jumps().collect::<BTreeMap<_, _>>() {
            let Some(&Row { file, line, .. }) = map.row(address).filter(|row| row.line > 0) else { continue };
            let is_check = [targets.0, targets.1].iter().any(|target| panics.follow(*target, read));
            if is_looked_at(file) && !is_check {
                let branches = &mut files.entry(file).or_default().branches;
                branches.entry(line).or_default().push(Branch { taken, not_taken });
            }
        }
        for (file, mut covered) in files {
            let SourceFile { path, shown, .. } = &map.files[file as usize];
            covered.path.clone_from(path);
            covered.leave_out_derived();
            coverage.merge_file(shown, covered);
        }
        coverage
    }

    /// Counts the line at this address once, if nothing of it was executed: the guest was there, and could not go on.
    pub fn reach(&mut self, map: &SourceMap, address: Option<u32>, scope: Scope) {
        let row = address.and_then(|address| map.row(address)).filter(|row| row.line > 0);
        let Some((row, file)) = row.and_then(|row| Some((row, map.files.get(row.file as usize)?))) else {
            return;
        };
        if scope == Scope::All || file.owner == Owner::Program {
            let file = self.files.entry(file.shown.clone()).or_default();
            let count = file.lines.entry(row.line).or_default();
            *count = (*count).max(1);
        }
    }

    /// Adds the coverage of other programs or runs. Files are told apart by their paths at compile time: a file that
    /// would be printed like another one is printed with its path.
    pub fn merge(&mut self, other: &Self) {
        let names = self.files.iter().map(|(shown, file)| (path_of(file), shown.clone()));
        let mut names = names.collect();
        for (shown, file) in &other.files {
            self.merge_by_path(&mut names, shown, file.clone());
        }
    }

    /// The same for one file. `names` has how the files are printed, by their paths.
    fn merge_by_path(&mut self, names: &mut HashMap<String, String>, shown: &str, file: FileCoverage) {
        let name = names.entry(path_of(&file)).or_insert_with_key(|path| {
            if self.files.contains_key(shown) { path.clone() } else { shown.into() }
        });
        self.merge_file(name, file);
    }

    fn merge_file(&mut self, shown: &str, other: FileCoverage) {
        match self.files.entry(shown.into()) {
            Entry::Vacant(new) => drop(new.insert(other)),
            Entry::Occupied(file) => file.into_mut().merge(other),
        }
    }

    /// The lines that were executed, of all files.
    pub fn lines(&self) -> Ratio {
        self.files.values().map(FileCoverage::lines).fold(Ratio::default(), |sum, ratio| sum + ratio)
    }

    /// The functions that were called.
    pub fn functions(&self) -> Ratio {
        self.files.values().map(FileCoverage::functions).fold(Ratio::default(), |sum, ratio| sum + ratio)
    }

    /// The ways that conditional jumps went: two of each.
    pub fn branches(&self) -> Ratio {
        self.files.values().map(FileCoverage::branches).fold(Ratio::default(), |sum, ratio| sum + ratio)
    }
}

impl FileCoverage {
    fn merge(&mut self, other: Self) {
        for (line, count) in other.lines {
            add(self.lines.entry(line).or_default(), count);
        }
        for (line, FunctionCoverage { name, calls }) in other.functions {
            let function = self.functions.entry(line).or_default();
            if function.name.is_empty() {
                function.name = name;
            }
            add(&mut function.calls, calls);
        }
        for (line, branches) in other.branches {
            let own = self.branches.entry(line).or_default();
            // The copies of a function in other programs have their own jumps: the n-th is the n-th.
            own.resize(own.len().max(branches.len()), Branch::default());
            for (own, other) in own.iter_mut().zip(branches) {
                add(&mut own.taken, other.taken);
                add(&mut own.not_taken, other.not_taken);
            }
        }
    }

    /// Leaves out functions that the attribute `derive` has made: nobody has written them. They are declared at the line
    /// of the attribute. If the source is not there any more, they stay.
    fn leave_out_derived(&mut self) {
        let source = read_source(&self.path).unwrap_or_default();
        for (line, text) in (1..).zip(source.lines()) {
            if text.trim_start().starts_with("#[derive(") {
                self.functions.remove(&line);
                self.lines.remove(&line);
                self.branches.remove(&line);
            }
        }
    }

    /// The lines that were executed.
    pub fn lines(&self) -> Ratio {
        Ratio::of(self.lines.values().copied())
    }

    /// The functions that were called.
    pub fn functions(&self) -> Ratio {
        Ratio::of(self.functions.values().map(|function| function.calls))
    }

    /// The ways that conditional jumps went: two of each.
    pub fn branches(&self) -> Ratio {
        let ways = |branch: &Branch| [branch.taken, branch.not_taken];
        Ratio::of(self.branches.values().flatten().flat_map(ways))
    }
}

/// The path of a file as it is written to another one.
fn path_of(file: &FileCoverage) -> String {
    file.path.to_string_lossy().into_owned()
}

/// Adds to a count. What a file says may be any number.
fn add(to: &mut u64, count: u64) {
    *to = to.saturating_add(count);
}

/// A line of a function, or of a copy of it: its file, its number, and the instance's.
type LineOfCopy = (u32, u32, Option<u32>);

/// How often each line was executed, by file and line. The code of a line may be in several pieces, and the piece that
/// was executed most often says how often the line was. The copies of a function are added.
fn lines(
    counter: &Counter,
    map: &SourceMap,
    assertions: &BTreeMap<LineOfCopy, u64>,
) -> BTreeMap<(u32, u32), u64> {
    let mut of_copies: BTreeMap<LineOfCopy, u64> = BTreeMap::new();
    for row in map.rows.iter().filter(|row| row.line > 0) {
        let most = of_copies.entry((row.file, row.line, row.instance)).or_default();
        *most = (*most).max(counter.count(row.start));
    }
    for (line, count) in assertions {
        let most = of_copies.entry(*line).or_default();
        *most = (*most).max(*count);
    }
    let mut lines = BTreeMap::new();
    for ((file, line, _), count) in of_copies {
        *lines.entry((file, line)).or_default() += count;
    }
    lines
}

/// How often the lines were reached that an `assert!` of several lines begins at. The line of its name has only the
/// code of its panic, and its condition is below: so a jump leads to a panic of a line above it.
fn assertions(counter: &Counter, map: &SourceMap, panics: &Panics, read: Read) -> BTreeMap<LineOfCopy, u64> {
    let mut reached: BTreeMap<LineOfCopy, u64> = BTreeMap::new();
    for (address, Jump { taken, not_taken, targets }) in counter.jumps() {
        let Some(condition) = map.row(address) else { continue };
        for target in [targets.0, targets.1] {
            let panic = panics.call_behind(target, read).and_then(|call| map.row(call));
            if let Some(panic) = panic
                && (panic.file, panic.instance) == (condition.file, condition.instance)
                && (1..condition.line).contains(&panic.line)
            {
                let most = reached.entry((panic.file, panic.line, panic.instance)).or_default();
                *most = (*most).max(taken + not_taken);
            }
        }
    }
    reached
}
