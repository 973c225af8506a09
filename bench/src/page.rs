//! The page of results, docs/speed.md, and its picture.

use std::fs;
use std::path::Path;

use crate::figures::{Quantiles, Row, short};
use crate::syscalls::{BYTES, Counts};
use crate::{Result, picture};

const HEAD: &str = "\
# Speed

Written by `cargo xtask bench --page`, which measures all contenders in turn; do not edit. The figures are those of one
machine: look at the ratios to the first line of each table, of minimum, 10th percentile and median.

- *plain C*: the least C that runs a flat image on KVM and does the obvious thing: one exit a byte, getchar and putchar
  ([plain.c](../bench/c/plain.c)).
- *best C*: the fastest means known, without anything that a person needs besides ([best.c](../bench/c/best.c)).
- */bin/true*: a process that does nothing.

![Times as parts of the plain C monitor's](speed.svg)
";

/// Writes both files.
pub fn write(root: &Path, rows: &[Row], syscalls: &std::result::Result<Counts, String>) -> Result<()> {
    let docs = root.join("docs");
    fs::create_dir_all(&docs)?;
    fs::write(docs.join("speed.svg"), picture::svg(rows))?;
    fs::write(docs.join("speed.md"), text(rows, syscalls, &host()))?;
    Ok(())
}

/// The machine in a sentence.
fn host() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let count = cpus.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let virtualized = cpus.contains(" vmx ") || cpus.contains(" svm ");
    let by =
        if virtualized { "runs the guest on the processor" } else { "emulates the guest's instructions" };
    let model = model.map_or("an unknown processor", |(_, model)| model);
    format!("{model}, {count} of them; Linux {}, whose KVM {by}.", kernel.trim())
}

fn text(rows: &[Row], syscalls: &std::result::Result<Counts, String>, host: &str) -> String {
    let mut text = format!("{HEAD}\nMeasured on: {host}\n");
    for row in rows {
        text += &format!("\n## {}\n\n", heading(&row.title));
        text += &format!("| {} | minimum | 10th percentile | median | ratios | |\n", row.unit);
        text += "|---|---:|---:|---:|---:|---|\n";
        let baseline = row.baseline();
        for contender in &row.contenders {
            let quantiles = Quantiles::of(&contender.samples);
            let [minimum, tenth, median] = quantiles.array().map(short);
            let ratios = quantiles.ratio(baseline).array().map(short).join(" / ");
            let runs = contender.samples.len();
            let name = contender.name;
            text +=
                &format!("| {name} | {minimum} | {tenth} | {median} | {ratios} | {} |\n", count(runs, "run"));
        }
        for rate in row.rates() {
            text += &format!("\n{rate}.\n");
        }
        for demand in &row.demands {
            text += &format!("\nAsked of {}.\n", row.judge(demand));
        }
    }
    text += "\n## What the conversation asks of the kernel\n\n";
    match syscalls {
        Err(message) => text += &format!("Not counted: {message}.\n"),
        Ok(counts) => text += &calls(counts),
    }
    text
}

/// A sentence begins with a capital letter, and a command does not.
fn heading(title: &str) -> String {
    match title.strip_prefix("cargo ") {
        Some(command) => format!("`cargo {command}`"),
        None => title[..1].to_uppercase() + &title[1..],
    }
}

fn calls(counts: &Counts) -> String {
    let [short, long] = BYTES.map(|bytes| format!("{} KiB", bytes >> 10));
    let mut text = format!(
        "System calls of `flatland` as strace(1) counts them, for {short} in and out and for {long}. The difference is what the \
         loop costs. Under strace the run is slower, so output is written more often: a second thread, the alarm, asks \
         for that after 10 ms (host/machine/src/alarm.rs).\n\n\
         | | {short} | {long} | in the loop |\n|---|---:|---:|---:|\n"
    );
    let mut once = [0; 2];
    for (thread, calls) in [("", &counts.run), ("the second thread: ", &counts.others)] {
        for (name, [short, long]) in calls {
            if long > short {
                text += &format!("| {thread}{name} | {short} | {long} | {} |\n", long - short);
            } else {
                once = [once[0] + short, once[1] + long];
            }
        }
    }
    text += &format!("| all others | {} | {} | |\n", once[0], once[1]);
    text + &format!("\nAsked of flatland: {}.\n", counts.judge())
}

fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_a_table_for_each_row_and_says_what_is_missing() {
        let page = text(&[crate::figures::tests::row()], &Err("strace is not installed".into()), "a machine");
        assert!(page.contains("## A <row>"), "{page}");
        assert!(
            page.contains("| flatland | 1.00 | 3.00 | 11.0 | 0.500 / 0.500 / 0.500 | 20 runs |"),
            "{page}"
        );
        assert!(page.contains("flatland: 90909 things a second."), "{page}");
        assert!(page.contains("Not counted: strace is not installed."), "{page}");
    }

    #[test]
    fn calls_that_do_not_grow_are_one_line() {
        let text = calls(&crate::syscalls::tests::counts());
        let table = "| ioctl KVM_RUN | 1 | 3 | 2 |\n| write | 1 | 3 | 2 |\n| the second thread: futex | 1 | 3 | 2 |\n\
                     | all others | 1 | 1 | |\n";
        assert!(text.contains(table), "{text}");
    }
}
