//! Which code is of which line, and where functions begin. The maker of the page has read it from the ELF file.

/// The code of a line: addresses from `start` to before `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// The address of its first instruction.
    pub start: u32,
    /// The address behind its last one.
    pub end: u32,
    /// A number for the line and its file: the page's.
    pub number: u32,
}

/// The lines of a program, and the addresses where functions begin. Empty for a program without an ELF file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    rows: Vec<Line>,
    functions: Vec<u32>,
}

impl Lines {
    /// None are known.
    pub const EMPTY: Self = Self { rows: Vec::new(), functions: Vec::new() };

    /// Both may be in any order. Of lines that overlap, one is taken.
    pub fn new(mut rows: Vec<Line>, mut functions: Vec<u32>) -> Self {
        rows.sort_by_key(|row| row.start);
        functions.sort_unstable();
        Self { rows, functions }
    }

    /// The number of the line that this code is of.
    pub fn at(&self, address: u32) -> Option<u32> {
        let at = self.rows.partition_point(|row| row.start <= address).checked_sub(1)?;
        Some(self.rows[at]).filter(|row| address < row.end).map(|row| row.number)
    }

    /// Where code of this line begins: addresses at which a run comes to the line.
    pub fn starts(&self, number: u32) -> Vec<u32> {
        let mut starts = Vec::new();
        let mut end = None;
        for row in self.rows.iter().filter(|row| row.number == number) {
            // The pieces behind one another are one.
            if end != Some(row.start) {
                starts.push(row.start);
            }
            end = Some(row.end);
        }
        starts
    }

    /// Where the function with this code begins, as far as is known.
    pub fn function_start(&self, address: u32) -> Option<u32> {
        let at = self.functions.partition_point(|start| *start <= address).checked_sub(1)?;
        Some(self.functions[at])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_functions_are_found_by_address() {
        let row = |start, end, number| Line { start, end, number };
        let lines = Lines::new(vec![row(8, 10, 1), row(0, 4, 1), row(4, 6, 2), row(10, 12, 1)], vec![8, 0]);
        let at: Vec<_> = [0, 3, 4, 6, 7, 8, 11, 12].into_iter().map(|address| lines.at(address)).collect();
        assert_eq!(at, [Some(1), Some(1), Some(2), None, None, Some(1), Some(1), None]);
        assert_eq!(lines.starts(1), [0, 8]);
        assert_eq!(lines.starts(3), [] as [u32; 0]);
        assert_eq!(lines.function_start(7), Some(0));
        assert_eq!(lines.function_start(8), Some(8));
        assert_eq!(Lines::default().function_start(8), None);
    }
}
