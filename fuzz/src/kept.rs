//! What is done with what a fuzzer has kept.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use flatland::coverage::{Counter, Coverage, Request};
use flatland::program::source_map::SourceMap;
use flatland::words;

use crate::edges::Edges;
use crate::findings::{self, Names};
use crate::fuzzing::{Campaign, files};
use crate::target::{Bad, Target};
use crate::{Result, screen};

/// Runs each finding again. Returns how many still end badly.
pub fn regress(campaign: &Campaign, name: &str) -> Result<usize> {
    let mut target = Target::open(&campaign.settings)?;
    let mut names = Names::new(target.program().symbols().map_err(|error| error.to_string())?);
    let (mut still, mut gone) = (0, 0);
    for folder in findings::folders(&campaign.findings)? {
        let finding = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut ends = BTreeSet::new();
        for file in ["minimized", "input"] {
            // One that was stopped while it was kept has only some of them.
            let Ok(input) = fs::read(folder.join(file)) else { continue };
            let outcome = target.run(&input)?;
            if let Some(bad) = Bad::of(&outcome) {
                ends.insert(names.of(bad, &outcome, &mut target)?);
            }
        }
        let ends: Vec<_> = ends.into_iter().collect();
        match &ends[..] {
            [] => {
                gone += 1;
                screen::say(&format!("test {finding} ... ok"));
            }
            [end] if *end == finding => {
                still += 1;
                screen::say(&format!("test {finding} ... FAILED"));
            }
            _ => {
                still += 1;
                screen::say(&format!("test {finding} ... FAILED, now as {}", ends.join(" and ")));
            }
        }
    }
    let cargo = words::cargo();
    let advice = match (still, gone) {
        (0, 0) => format!("there is nothing to run again: `{cargo} fuzz {name}` searches"),
        (0, _) => format!(
            "remove the folders of those that are mended, or keep them: `{cargo} fuzz {name} --regress` tells when one comes back"
        ),
        _ => format!("report.txt in its folder in {} says what each is", screen::path(&campaign.findings)),
    };
    screen::say(&format!("{gone} findings are mended, {still} are not; {advice}"));
    Ok(still)
}

/// Removes the inputs of the corpus that execute nothing but what smaller ones execute.
pub fn minimize(campaign: &Campaign) -> Result<()> {
    let mut target = Target::open(&campaign.settings)?;
    let mut map = vec![0; target.map_size()];
    target.watch(Edges::new(map.len()))?;
    // Of each edge, with its count, the smallest input; the path decides between two.
    let mut best = BTreeMap::<(usize, u8), (usize, PathBuf)>::new();
    let paths = files(&campaign.corpus)?;
    for path in &paths {
        let input = read(path)?;
        let outcome = target.run(&input)?;
        map.fill(0);
        target.sink::<Edges>().take(&mut map);
        if Bad::of(&outcome).is_some() {
            continue;
        }
        for (edge, count) in map.iter().enumerate().filter(|(_, count)| **count > 0) {
            let this = (input.len(), path.clone());
            let smallest = best.entry((edge, *count)).or_insert_with(|| this.clone());
            if this < *smallest {
                *smallest = this;
            }
        }
    }
    let kept: BTreeSet<_> = best.into_values().map(|(_, path)| path).collect();
    for path in paths.iter().filter(|path| !kept.contains(*path)) {
        fs::remove_file(path)
            .map_err(|error| format!("cannot remove `{}` ({error}): remove it by hand", path.display()))?;
    }
    screen::say(&format!(
        "{} of {} inputs are left in {}, and execute the same",
        kept.len(),
        paths.len(),
        screen::path(&campaign.corpus)
    ));
    Ok(())
}

/// Says which lines the inputs of the corpus execute. Returns why that is too little, if it is.
pub fn coverage(campaign: &Campaign, request: &Request) -> Result<Option<String>> {
    let request = request.prepare().map_err(|error| error.to_string())?;
    let mut target = Target::open(&campaign.settings)?;
    let elf = target.program().elf().map(Path::to_owned).ok_or(
        "coverage needs the program's ELF file, which names its lines: fuzz that in place of the flat image",
    )?;
    target.watch(Counter::default())?;
    // What comes before the first input is executed once.
    target.run_from_begin(&[])?;
    let paths = files(&campaign.corpus)?;
    for path in &paths {
        target.run(&read(path)?)?;
    }
    let counter = target.unwatch::<Counter>().finish();
    let map = SourceMap::open(&elf).map_err(|error| error.to_string())?;
    let program = target.program();
    let read = |address: u32, bytes: &mut [u8]| program.image().read(address, bytes);
    let coverage = Coverage::new(&counter, &map, &read, request.scope());
    let covered = request.write(coverage).map_err(|error| error.to_string())?;
    screen::say(&format!("{}by {} inputs", covered.table, paths.len()));
    if let Some(written) = covered.written {
        screen::say(&written);
    }
    Ok(covered.too_low)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|error| format!("cannot read `{}` ({error}): remove it", path.display()))
}
