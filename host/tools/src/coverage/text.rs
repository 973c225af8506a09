//! Coverage in a table, for a terminal.

use std::fmt::Write;

use super::{Coverage, Ratio};

/// The most functions that are listed as not called.
const MOST_FUNCTIONS: usize = 20;

impl Coverage {
    /// A table: each file with its lines, functions and branches, and the functions that were not called at all or not
    /// as a whole.
    pub fn table(&self) -> String {
        let width =
            self.files.keys().map(|file| file.chars().count()).max().unwrap_or(0).max("all files".len());
        let mut text = String::new();
        let mut row = |name: &str, ratios: [Ratio; 3]| {
            let cells: Vec<_> = ratios.into_iter().map(cell).collect();
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{name:<width$}  {}", cells.join("  ").trim_end());
        };
        for (name, file) in &self.files {
            row(name, [file.lines(), file.functions(), file.branches()]);
        }
        if self.files.len() != 1 {
            row("all files", [self.lines(), self.functions(), self.branches()]);
        }
        let head = format!("{:<width$}  {:>16}  {:>16}  {:>16}\n", "", "lines", "functions", "branches");
        head + &text + &self.not_called()
    }

    /// The functions that were not called. Of a file that was not entered at all there is no more to say.
    fn not_called(&self) -> String {
        let entered = self.files.iter().filter(|(_, file)| file.functions().covered > 0);
        let functions =
            entered.flat_map(|(name, file)| file.functions.iter().map(move |entry| (name, entry)));
        let mut never: Vec<_> = functions.filter(|(_, (_, function))| function.calls == 0).collect();
        // The program first, then the packages beside it, such as the runtime.
        never.sort_by_key(|(name, _)| !name.starts_with("src/"));
        let mut text = String::new();
        for (name, (line, function)) in never.iter().take(MOST_FUNCTIONS) {
            let _ = writeln!(text, "not called: {} ({name}:{line})", function.name);
        }
        if never.len() > MOST_FUNCTIONS {
            let more = never.len() - MOST_FUNCTIONS;
            let _ = writeln!(text, "not called: {more} more; --coverage=FOLDER makes pages of all");
        }
        text
    }
}

fn cell(ratio: Ratio) -> String {
    match ratio.all {
        0 => format!("{:>16}", "-"),
        all => format!("{:>9} {:>5.1}%", format!("{}/{all}", ratio.covered), ratio.percent()),
    }
}
