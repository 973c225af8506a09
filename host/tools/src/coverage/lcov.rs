//! Coverage as LCOV, which editors and services read: geninfo(1), section "Tracefile format".

use std::collections::HashMap;
use std::fmt::Write;

use super::{Branch, Coverage, FileCoverage, Ratio};

impl Coverage {
    /// A tracefile.
    pub fn lcov(&self) -> String {
        let mut text = String::from("TN:\n");
        for file in self.files.values() {
            // Writing to a string cannot fail.
            let _ = write_file(&mut text, file);
        }
        text
    }
}

fn write_file(text: &mut String, file: &FileCoverage) -> std::fmt::Result {
    writeln!(text, "SF:{}", file.path.display())?;
    let names = unique_names(file);
    for (line, name) in file.functions.keys().zip(&names) {
        writeln!(text, "FN:{line},{name}")?;
    }
    for (function, name) in file.functions.values().zip(&names) {
        writeln!(text, "FNDA:{},{name}", function.calls)?;
    }
    write_totals(text, "FN", file.functions())?;
    for (line, branches) in &file.branches {
        for (number, Branch { taken, not_taken }) in branches.iter().enumerate() {
            writeln!(text, "BRDA:{line},{number},0,{taken}\nBRDA:{line},{number},1,{not_taken}")?;
        }
    }
    write_totals(text, "BR", file.branches())?;
    for (line, count) in &file.lines {
        writeln!(text, "DA:{line},{count}")?;
    }
    write_totals(text, "L", file.lines())?;
    writeln!(text, "end_of_record")
}

fn write_totals(text: &mut String, of: &str, ratio: Ratio) -> std::fmt::Result {
    writeln!(text, "{of}F:{}\n{of}H:{}", ratio.all, ratio.covered)
}

/// The names of a file's functions. The format tells functions of a file by their names, so those with the same name,
/// such as what a macro makes in several places, are told by their lines.
fn unique_names(file: &FileCoverage) -> Vec<String> {
    let mut times = HashMap::new();
    for function in file.functions.values() {
        *times.entry(&function.name).or_insert(0_usize) += 1;
    }
    let names = file.functions.iter().map(|(line, function)| match times[&function.name] {
        1 => function.name.clone(),
        _ => format!("{} (line {line})", function.name),
    });
    names.collect()
}
