//! Tables of expected reports: `== NAME`, and the lines below it.
//!
//! If KVM's report differs, there is also `== NAME, kvm`, and if KVMs differ, `== NAME, kvm by its emulator` and
//! `== NAME, kvm by the processor`. A KVM on QEMU's processor has a section of its own if it differs from all others.
//! `as soft` stands for the soft engine's report.

use flatland::EngineChoice;

/// The reports that are allowed for this name on this engine.
pub fn expected<'a>(table: &'a str, name: &str, engine: EngineChoice) -> Vec<&'a str> {
    let section = |title: &str| {
        let begin = table.find(&format!("== {title}\n"))?;
        let text = &table[begin..].split_once('\n')?.1;
        Some(&text[..text.find("\n== ").map_or(text.len(), |end| end + 1)])
    };
    let kvms = ["kvm", "kvm by its emulator", "kvm by the processor", "kvm by QEMU's processor"];
    let of_kvm: Vec<_> = kvms
        .iter()
        .filter_map(|kvm| section(&format!("{name}, {kvm}")))
        .map(|text| if text == "as soft\n" { section(name).unwrap_or_default() } else { text })
        .collect();
    match engine {
        EngineChoice::Kvm if !of_kvm.is_empty() => of_kvm,
        // It ends on one of the two.
        EngineChoice::Auto => of_kvm.into_iter().chain(section(name)).collect(),
        _ => section(name).into_iter().collect(),
    }
}

/// The names in the table.
pub fn names(table: &str) -> impl Iterator<Item = &str> {
    let titles = table.lines().filter_map(|line| line.strip_prefix("== "));
    titles.map(|title| title.split(", kvm").next().unwrap_or_default())
}
