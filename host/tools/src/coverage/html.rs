//! Coverage as a folder of pages, one for each source file, for a browser. They need no script and nothing from
//! elsewhere.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use super::{Branch, Coverage, FileCoverage, Ratio};
use crate::markup::escaped;
use crate::report::read_source;

/// The style of all pages. What was not executed is told by a mark and by a colour that the colour-blind can tell.
const STYLE: &str = include_str!("coverage.css");

impl Coverage {
    /// Writes the pages to this folder, which is made if it is not there.
    pub fn write_html(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        fs::write(folder.join("style.css"), STYLE)?;
        fs::write(folder.join(INDEX), self.index())?;
        for (number, (name, file)) in self.files.iter().enumerate() {
            let source = read_source(&file.path);
            fs::write(folder.join(page_name(number)), page(name, file, source.as_deref()))?;
        }
        Ok(())
    }

    fn index(&self) -> String {
        let mut rows = String::new();
        for (number, (name, file)) in self.files.iter().enumerate() {
            let link = format!("<a href=\"{}\">{}</a>", page_name(number), escaped(name));
            rows += &row(&link, [file.lines(), file.functions(), file.branches()]);
        }
        let all = row("all files", [self.lines(), self.functions(), self.branches()]);
        document(
            "Coverage",
            &format!(
                "<h1>Coverage</h1>\n<table class=\"files\">\n<thead><tr><th>file</th>{COLUMNS}</tr></thead>\n\
                 <tbody>\n{rows}</tbody>\n<tfoot>\n{all}</tfoot>\n</table>\n"
            ),
        )
    }
}

/// The page of all files.
pub const INDEX: &str = "index.html";

/// What tells a page from those of others.
pub const GENERATOR: &str = "<meta name=\"generator\" content=\"Flatland's coverage\">";

/// The columns of a [`row`].
const COLUMNS: &str =
    "<th colspan=\"3\">lines</th><th colspan=\"3\">functions</th><th colspan=\"3\">branches</th>";

fn page_name(number: usize) -> String {
    format!("file-{number}.html")
}

fn document(title: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n{GENERATOR}\n<title>{}</title>\n\
         <link rel=\"icon\" href=\"data:,\">\n<link rel=\"stylesheet\" href=\"style.css\">\n</head>\n\
         <body>\n{body}</body>\n</html>\n",
        escaped(title)
    )
}

fn row(name: &str, ratios: [Ratio; 3]) -> String {
    let mut text = format!("<tr><th scope=\"row\">{name}</th>");
    for ratio in ratios {
        let Ratio { covered, all } = ratio;
        let percent = ratio.percent();
        // Writing to a string cannot fail.
        let _ = match all {
            0 => write!(text, "<td>-</td><td></td><td></td>"),
            _ => write!(
                text,
                "<td>{covered}/{all}</td><td><meter max=\"100\" value=\"{percent:.1}\">{percent:.1} %</meter></td>\
                 <td>{percent:.1} %</td>"
            ),
        };
    }
    text + "</tr>\n"
}

/// The page of a file. Its source may not be there any more.
fn page(name: &str, file: &FileCoverage, source: Option<&str>) -> String {
    let mut body = format!("<p><a href=\"index.html\">all files</a></p>\n<h1>{}</h1>\n", escaped(name));
    body += &format!("<table class=\"files\">\n<thead><tr><th></th>{COLUMNS}</tr></thead>\n");
    body += &row("this file", [file.lines(), file.functions(), file.branches()]);
    body += "</table>\n";
    body += &places(file);
    body += "<table class=\"source\">\n";
    let lines: Vec<&str> = source.map(|source| source.lines().collect()).unwrap_or_default();
    let last = file.lines.keys().next_back().map_or(0, |line| *line as usize).max(lines.len());
    // Debug information may name any line.
    let most = lines.len().max(1) + 100_000;
    for number in 1..=last.min(most) {
        let text = lines.get(number - 1).copied().unwrap_or("");
        body += &source_row(number as u32, text, file);
    }
    body += "</table>\n";
    if source.is_none() {
        body +=
            &format!("<p>The source is not at {} any more.</p>\n", escaped(&file.path.display().to_string()));
    }
    document(name, &body)
}

/// Links to what was not executed.
fn places(file: &FileCoverage) -> String {
    let lines: Vec<u32> =
        file.lines.iter().filter(|(_, count)| **count == 0).map(|(line, _)| *line).collect();
    let mut text = String::new();
    if lines.is_empty() {
        return text + "<p>Every line was executed.</p>\n";
    }
    // Neighbours are one place.
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for line in lines {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == line => *last = line,
            _ => ranges.push((line, line)),
        }
    }
    text += "<p>Not executed:";
    for (first, last) in ranges {
        let shown = if first == last { first.to_string() } else { format!("{first}-{last}") };
        let _ = write!(text, " <a href=\"#L{first}\">{shown}</a>");
    }
    text + "</p>\n"
}

fn source_row(number: u32, text: &str, file: &FileCoverage) -> String {
    let count = file.lines.get(&number);
    let branches = file.branches.get(&number).map(Vec::as_slice).unwrap_or_default();
    let is_partial = branches.iter().any(|branch| branch.taken == 0 || branch.not_taken == 0);
    let (class, mark) = match count {
        None => ("", ""),
        Some(0) => (" class=\"no\"", "✗"),
        Some(_) if is_partial => (" class=\"part\"", "½"),
        Some(_) => (" class=\"yes\"", ""),
    };
    let count = count.map(|count| count.to_string()).unwrap_or_default();
    let ways: Vec<_> = branches
        .iter()
        .map(|Branch { taken, not_taken }| format!("taken {taken}, not taken {not_taken}"))
        .collect();
    let title = if ways.is_empty() { String::new() } else { format!(" title=\"{}\"", ways.join("; ")) };
    format!(
        "<tr id=\"L{number}\"{class}><td>{number}</td><td>{mark}</td><td{title}>{count}</td><td><pre>{}</pre></td></tr>\n",
        escaped(text)
    )
}
