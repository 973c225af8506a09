//! Which source lines and functions the code of a program is of.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use flatland_elf::{Elf, NOWHERE, remove_dropped};
use gimli::{
    AttributeValue, DebugInfoOffset, DebuggingInformationEntry, Dwarf, LineProgramHeader, Unit, UnitOffset,
    constants,
};

use crate::SymbolsError;
use crate::debug_info::{Bytes, load};
use crate::place::in_standard_library;
use crate::symbols::{demangle, working_directories};

/// The source of a program's code. Where lines and functions have no code, they are not known.
#[derive(Clone, Debug, Default)]
pub struct SourceMap {
    /// The source files.
    pub files: Vec<SourceFile>,
    /// Pieces of code, sorted by address. They do not overlap.
    pub rows: Vec<Row>,
    /// The functions, and each place that one is inlined at.
    pub instances: Vec<Instance>,
    /// Lines that have code in a function that the linker has left out, because nothing calls it: the number of the file,
    /// and the line.
    pub dropped_lines: BTreeSet<(u32, u32)>,
}

/// A source file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Its path at compile time.
    pub path: PathBuf,
    /// The path as printed: as given to the compiler; for the standard library, relative to its sources.
    pub shown: String,
    /// Whose code it is.
    pub owner: Owner,
}

/// Whose code a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The program's: of the folder that the compiler was called in.
    Program,
    /// That of its tests in the folder `tests`.
    Tests,
    /// That of a library.
    Dependency,
    /// That of the standard library.
    StandardLibrary,
}

/// A piece of code that belongs to one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The address of its first instruction.
    pub start: u32,
    /// The address behind its last one.
    pub end: u32,
    /// The number of the file.
    pub file: u32,
    /// The line, starting at 1. 0 if the code is of no line.
    pub line: u32,
    /// The number of the innermost function that it is in.
    pub instance: Option<u32>,
}

/// The code of a function: its own, or a copy of it in another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// The function's name, with its path.
    pub name: String,
    /// The number of the file it is declared in.
    pub file: u32,
    /// The line it is declared at.
    pub line: u32,
    /// The address where it is entered. None if the linker has left it out.
    pub entry: Option<u32>,
    /// Whether it is inlined in another function.
    pub is_inlined: bool,
}

/// Broken debug information may be endless.
const MOST_REFERENCES: usize = 16;
/// The most pieces of code of one function.
const MOST_RANGES: usize = 256;
/// The most pieces of code of all functions.
const MOST_EXTENTS: usize = 1 << 20;
/// The most entries of all lists of files, where no more than the files is asked for.
const MOST_FILES: usize = 1 << 14;
/// The most bytes of all names and paths: one long name may be that of many functions, and one directory that of many
/// files.
const MOST_NAMES: usize = 64 << 20;
/// What the names of source files end in.
const SOURCE_EXTENSIONS: &[&str] =
    &["S", "asm", "c", "cc", "cpp", "cxx", "h", "hh", "hpp", "inc", "rs", "s", "zig"];

impl SourceMap {
    /// Reads the debug information of an ELF file. What is broken in it is left out.
    pub fn open(path: &Path) -> Result<Self, SymbolsError> {
        let bytes = crate::symbols::read(path)?;
        let mut map = Self::default();
        let (mut files, mut left) = (HashMap::new(), MOST_NAMES);
        let mut cleaned = bytes.clone();
        remove_dropped(&mut cleaned);
        // What the linker has left out is in the file as it is.
        for (bytes, is_dropped) in [(cleaned, false), (bytes, true)] {
            let Ok(elf) = Elf::parse(&*bytes) else { continue };
            let Ok(dwarf) = load(&elf) else { continue };
            let directories = working_directories(&dwarf);
            let (files, map, left) = (&mut files, &mut map, &mut left);
            Reader { dwarf: &dwarf, directories, files, map, left, is_dropped }.read();
        }
        map.rows.sort_by_key(|row| row.start);
        map.rows.dedup_by_key(|row| row.start);
        Ok(map)
    }

    /// The piece of code with this address.
    pub fn row(&self, address: u32) -> Option<&Row> {
        let at = self.rows.partition_point(|row| row.start <= address).checked_sub(1)?;
        Some(&self.rows[at]).filter(|row| address < row.end)
    }
}

/// The source files that the debug information of an ELF file names, up to a limit, if they are there and their extension
/// is one of source code. Whoever made the program chose their paths.
pub fn source_files(elf: &Path) -> Vec<PathBuf> {
    let bytes = crate::symbols::read(elf).unwrap_or_default();
    let (mut map, mut files, mut left) = (SourceMap::default(), HashMap::new(), MOST_NAMES);
    if let Ok(elf) = Elf::parse(&*bytes)
        && let Ok(dwarf) = load(&elf)
    {
        let (map, files, left) = (&mut map, &mut files, &mut left);
        Reader { dwarf: &dwarf, directories: Vec::new(), files, map, left, is_dropped: false }.read_files();
    }
    let paths = map.files.into_iter().map(|file| file.path);
    let of_source = |path: &PathBuf| {
        let extension = path.extension().and_then(|extension| extension.to_str());
        extension.is_some_and(|extension| SOURCE_EXTENSIONS.contains(&extension)) && path.is_file()
    };
    paths.filter(of_source).collect()
}

/// Reads one form of a file's debug information.
struct Reader<'a> {
    dwarf: &'a Dwarf<Bytes>,
    directories: Vec<PathBuf>,
    files: &'a mut HashMap<PathBuf, u32>,
    map: &'a mut SourceMap,
    /// How many bytes names and paths may still take.
    left: &'a mut usize,
    /// Only what the linker has left out is read.
    is_dropped: bool,
}

/// Where the code of an instance lies.
struct Extent {
    start: u32,
    end: u32,
    depth: isize,
    instance: u32,
}

impl Reader<'_> {
    fn read(mut self) {
        let mut extents = Vec::new();
        let mut rows = Vec::new();
        // All of them at first: one may refer to any other.
        let mut units = Vec::new();
        let mut headers = self.dwarf.units();
        while let Ok(Some(header)) = headers.next() {
            units.extend(self.dwarf.unit(header));
        }
        for unit in &units {
            self.read_lines(unit, &mut rows);
            self.read_functions(unit, &units, &mut extents);
        }
        let innermost = innermost(extents);
        for mut row in rows {
            let at = innermost.partition_point(|(start, ..)| *start <= row.start).checked_sub(1);
            row.instance = at.and_then(|at| {
                let (_, end, instance) = innermost[at];
                (row.start < end).then_some(instance)
            });
            self.map.rows.push(row);
        }
    }

    /// Adds the files that there are, without anything of them.
    fn read_files(mut self) {
        let (mut headers, mut left) = (self.dwarf.units(), MOST_FILES);
        while let Ok(Some(header)) = headers.next()
            && let Ok(unit) = self.dwarf.unit(header)
        {
            let Some(lines) = unit.line_program.as_ref().map(|program| program.header().clone()) else {
                continue;
            };
            // Counted from 1 before DWARF 5, and from 0 in it.
            for index in (0..=lines.file_names().len() as u64).take(left) {
                self.file(&unit, &lines, index);
            }
            left = left.saturating_sub(lines.file_names().len() + 1);
        }
    }

    fn read_lines(&mut self, unit: &Unit<Bytes>, to: &mut Vec<Row>) {
        let Some(program) = unit.line_program.clone() else { return };
        let mut rows = program.rows();
        let mut last: Option<Row> = None;
        while let Ok(Some((header, row))) = rows.next_row() {
            let Ok(address) = u32::try_from(row.address()) else { continue };
            if let Some(mut piece) = last.take() {
                piece.end = address;
                if piece.start < piece.end {
                    if !self.is_dropped {
                        to.push(piece);
                    } else if piece.line > 0 {
                        self.map.dropped_lines.insert((piece.file, piece.line));
                    }
                }
            }
            if row.end_sequence() || self.is_dropped != (address >= NOWHERE) {
                continue;
            }
            let line = row.line().and_then(|line| u32::try_from(line.get()).ok()).unwrap_or(0);
            let Some(file) = self.file(unit, header, row.file_index()) else { continue };
            last = Some(Row { start: address, end: address, file, line, instance: None });
        }
    }

    fn read_functions(&mut self, unit: &Unit<Bytes>, units: &[Unit<Bytes>], extents: &mut Vec<Extent>) {
        let mut entries = unit.entries();
        while let Ok(Some(entry)) = entries.next_dfs() {
            let depth = entry.depth();
            let is_inlined = match entry.tag() {
                constants::DW_TAG_subprogram => false,
                constants::DW_TAG_inlined_subroutine => true,
                _ => continue,
            };
            let mut ranges = Vec::new();
            if let Ok(mut all) = self.dwarf.die_ranges(unit, entry) {
                while let Ok(Some(range)) = all.next()
                    && ranges.len() < MOST_RANGES
                    && extents.len() < MOST_EXTENTS
                {
                    let (Ok(start), Ok(end)) = (range.begin.try_into(), range.end.try_into()) else {
                        continue;
                    };
                    if start < end && self.is_dropped == (start >= NOWHERE) {
                        ranges.push((start, end));
                    }
                }
            }
            let Some(&(first, _)) = ranges.first() else { continue };
            let Some((name, file, line)) = self.declaration(unit, units, entry) else { continue };
            let entry = (!self.is_dropped).then(|| match entry.attr_value(constants::DW_AT_entry_pc) {
                Some(AttributeValue::Addr(address)) => address as u32,
                _ => first,
            });
            // A copy that was left out is of no interest.
            if self.is_dropped && is_inlined {
                continue;
            }
            if !self.is_room_for(name.len()) {
                continue;
            }
            let instance = self.map.instances.len() as u32;
            self.map.instances.push(Instance { name, file, line, entry, is_inlined });
            if !self.is_dropped {
                extents.extend(ranges.iter().map(|&(start, end)| Extent { start, end, depth, instance }));
            }
        }
    }

    /// The name of a function, and the file and line it is declared at.
    fn declaration<'u>(
        &mut self,
        mut unit: &'u Unit<Bytes>,
        units: &'u [Unit<Bytes>],
        entry: &DebuggingInformationEntry<Bytes>,
    ) -> Option<(String, u32, u32)> {
        let (mut linkage_name, mut name, mut file, mut line) = (None, None, None, None);
        let mut offset = entry.offset();
        for _ in 0..MOST_REFERENCES {
            let Ok(entry) = unit.entry(offset) else { break };
            let text = |name| {
                let value = entry.attr_value(name)?;
                let text = self.dwarf.attr_string(unit, value).ok()?;
                Some(String::from_utf8_lossy(&text).into_owned())
            };
            linkage_name = linkage_name.or_else(|| text(constants::DW_AT_linkage_name));
            name = name.or_else(|| text(constants::DW_AT_name));
            line = line.or_else(|| entry.attr_value(constants::DW_AT_decl_line)?.udata_value());
            if file.is_none()
                && let Some(AttributeValue::FileIndex(index)) = entry.attr_value(constants::DW_AT_decl_file)
                && let Some(program) = &unit.line_program
            {
                let header = program.header().clone();
                file = self.file(unit, &header, index);
            }
            let origin = [constants::DW_AT_abstract_origin, constants::DW_AT_specification]
                .into_iter()
                .find_map(|name| entry.attr_value(name));
            match origin {
                Some(AttributeValue::UnitRef(there)) => offset = there,
                Some(AttributeValue::DebugInfoRef(there)) => {
                    let Some(other) = unit_at(units, there) else { break };
                    (unit, offset) = other;
                }
                _ => break,
            }
        }
        let name = linkage_name.map(|name| demangle(&name)).or(name)?;
        Some((name, file?, u32::try_from(line?).ok()?))
    }

    /// The number of a file by its index in a unit.
    fn file(&mut self, unit: &Unit<Bytes>, header: &LineProgramHeader<Bytes>, index: u64) -> Option<u32> {
        let entry = header.file(index)?;
        let text = |value| {
            let text = self.dwarf.attr_string(unit, value).ok()?;
            Some(String::from_utf8_lossy(&text).into_owned())
        };
        let mut path = PathBuf::new();
        if let Some(directory) = &unit.comp_dir {
            path.push(&*String::from_utf8_lossy(directory));
        }
        if let Some(directory) = entry.directory(header).and_then(text) {
            path.push(directory);
        }
        path.push(text(entry.path_name())?);
        if let Some(&number) = self.files.get(&path) {
            return Some(number);
        }
        // It is kept three times: in the list, as shown, and to be found again.
        if !self.is_room_for(3 * path.as_os_str().len()) {
            return None;
        }
        let number = u32::try_from(self.map.files.len()).ok()?;
        self.map.files.push(self.describe(path.clone()));
        self.files.insert(path, number);
        Some(number)
    }

    fn is_room_for(&mut self, name: usize) -> bool {
        self.left.checked_sub(name).map(|left| *self.left = left).is_some()
    }

    fn describe(&self, path: PathBuf) -> SourceFile {
        let text = path.to_string_lossy();
        if let Some(shown) = in_standard_library(&text) {
            return SourceFile { shown: shown.into(), owner: Owner::StandardLibrary, path: path.clone() };
        }
        let relative = self.directories.iter().find_map(|directory| path.strip_prefix(directory).ok());
        let owner = match relative {
            Some(path) if path.starts_with("tests") => Owner::Tests,
            Some(_) => Owner::Program,
            None => Owner::Dependency,
        };
        SourceFile { shown: relative.unwrap_or(&path).display().to_string(), owner, path: path.clone() }
    }
}

/// The unit with this place in .debug_info, and the place in it. The units are in the order of their places.
fn unit_at(units: &[Unit<Bytes>], offset: DebugInfoOffset) -> Option<(&Unit<Bytes>, UnitOffset)> {
    let start = |unit: &Unit<Bytes>| unit.header.debug_info_offset();
    let at = units.partition_point(|unit| start(unit).is_some_and(|start| start <= offset)).checked_sub(1)?;
    Some((&units[at], offset.to_unit_offset(&units[at].header)?))
}

/// The innermost instance of each piece of code: start, end and instance, sorted.
fn innermost(mut extents: Vec<Extent>) -> Vec<(u32, u32, u32)> {
    extents.sort_by_key(|extent| (extent.start, std::cmp::Reverse(extent.end), extent.depth));
    let mut pieces = Vec::new();
    let mut open: Vec<Extent> = Vec::new();
    let mut at = 0;
    let mut piece = |at: &mut u32, end: u32, open: &[Extent]| {
        if let Some(inner) = open.last()
            && *at < end
        {
            pieces.push((*at, end, inner.instance));
        }
        *at = (*at).max(end);
    };
    for extent in extents {
        while let Some(inner) = open.last()
            && inner.end <= extent.start
        {
            piece(&mut at, inner.end, &open);
            open.pop();
        }
        piece(&mut at, extent.start, &open);
        at = at.max(extent.start);
        open.push(extent);
    }
    while let Some(inner) = open.last() {
        piece(&mut at, inner.end, &open);
        open.pop();
    }
    pieces
}
