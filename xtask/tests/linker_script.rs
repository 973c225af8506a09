//! Tests the linker script: the layout of programs, and the messages for those that would not work. Each is a few
//! lines of assembly, linked as the target (i686-bare.json) has it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The runtime's entry, and a main function.
const PROGRAM: &str = "
    .section .text.entry, \"ax\", @progbits
    .global _start, __flatland_main
_start: call __flatland_main
    hlt
    .text
__flatland_main: ret
";

/// Links this assembly, and returns what the linker says and the ELF file.
fn link(test: &str, assembly: &str) -> (Output, PathBuf) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the checkout");
    let file = |suffix: &str| Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{test}.{suffix}"));
    fs::write(file("s"), assembly).expect("the folder for tests can be written");
    // Assemble with `cc`, which is installed as the linker for programs of this machine.
    let assembled = Command::new("cc").args(["-m32", "-c", "-o"]).arg(file("o")).arg(file("s")).status();
    assert!(assembled.expect("there is a C compiler").success());
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).args(["--print", "target-libdir"]).output().expect("there is rustc");
    let libraries = PathBuf::from(String::from_utf8(output.stdout).expect("UTF-8").trim());
    let linker = libraries.with_file_name("bin").join("rust-lld");
    let output = Command::new(linker)
        .args(["-flavor", "gnu", "-m", "elf_i386", "-static", "--gc-sections", "-Tflatland.ld", "-L"])
        .arg(root.join("guest/runtime"))
        .arg("-o")
        .arg(file("elf"))
        .arg(file("o"))
        .output()
        .expect("rust-lld starts");
    (output, file("elf"))
}

#[track_caller]
fn assert_refused(test: &str, more: &str, sentence: &str) {
    let (output, _) = link(test, &format!("{PROGRAM}{more}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && stderr.contains(sentence), "{stderr}");
}

#[test]
fn what_would_not_work_is_refused() {
    for (test, section) in [
        ("init-array", ".init_array, \"aw\", @init_array"),
        ("ctors", ".ctors.65535, \"aw\", @progbits"),
        ("fini-array", ".fini_array, \"aw\", @fini_array"),
    ] {
        let more = format!("\n.section {section}\n.long __flatland_main\n");
        let sentence = "flatland: the program has constructors or destructors, and nothing would run them.";
        assert_refused(test, &more, sentence);
    }
    for (test, section) in [("tdata", ".tdata, \"awT\", @progbits"), ("tbss", ".tbss.x, \"awT\", @nobits")] {
        // Refer to the section, so that the linker keeps it.
        let more =
            format!("\n.section {section}\nx: .zero 4\n.section .text.entry\nmov %gs:x@ntpoff, %eax\n");
        let sentence = "flatland: the program has thread-local variables, and there are no threads.";
        assert_refused(test, &more, sentence);
    }
    let before = "\n.section .text.entry, \"ax\", @progbits\n";
    let (output, _) = link("entry", &format!("{before}nop\n{PROGRAM}"));
    assert!(String::from_utf8_lossy(&output.stderr).contains("flatland: the entry is not at address 0."));
    let (output, _) = link("no-runtime", ".text\n.global f\nf: ret\n");
    assert!(String::from_utf8_lossy(&output.stderr).contains(
        "flatland: the program does not use the runtime: add the line `flatland_guest::entry!(main);`."
    ));
    let (output, _) = link("no-main", ".text\n.global _start\n_start: hlt\n");
    assert!(
        String::from_utf8_lossy(&output.stderr)
            .contains("flatland: the program does not say what its main function is: add the line `flatland_guest::entry!(main);`.")
    );
}

/// The address of each section and of the symbol `__heap_start`, and whether it can be written.
fn layout(elf: &Path) -> Vec<(String, u64, bool)> {
    use object::elf::{FileHeader32, SHF_ALLOC, SHF_WRITE};
    use object::read::elf::{FileHeader, SectionHeader, Sym};
    let le = object::LittleEndian;
    let file = fs::read(elf).expect("it was linked");
    let header = FileHeader32::<object::LittleEndian>::parse(&file[..]).expect("it is an ELF file");
    let sections = header.sections(le, &file[..]).expect("it is whole");
    let symbols = sections.symbols(le, &file[..], object::elf::SHT_SYMTAB).expect("it has symbols");
    let name = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut all: Vec<_> = sections
        .iter()
        .filter(|section| section.sh_flags(le).0 & SHF_ALLOC.0 != 0)
        .map(|section| {
            let writable = section.sh_flags(le).0 & SHF_WRITE.0 != 0;
            (
                name(sections.section_name(le, section).expect("it has a name")),
                section.sh_addr(le).into(),
                writable,
            )
        })
        .collect();
    for symbol in symbols.iter() {
        if symbol.name(le, symbols.strings()).is_ok_and(|name| name == b"__heap_start") {
            all.push(("__heap_start".into(), symbol.st_value.get(le).into(), false));
        }
    }
    all
}

#[test]
fn what_is_written_has_pages_of_its_own() {
    let keep = |name: &str| {
        format!(".section {name}\n{}: .long 1\n", name[1..name.find(',').unwrap()].replace('.', "_"))
    };
    let of = |test, sections: &[&str]| {
        let uses: String = sections
            .iter()
            .map(|section| {
                format!("mov ${}, %eax\n", section[1..section.find(',').unwrap()].replace('.', "_"))
            })
            .collect();
        let sections: String = sections.iter().map(|section| keep(section)).collect();
        let (output, elf) = link(test, &format!("{PROGRAM}.section .text.entry\n{uses}{sections}"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        layout(&elf)
    };
    let at = |layout: &[(String, u64, bool)], name: &str| {
        layout
            .iter()
            .find(|(section, ..)| section == name)
            .unwrap_or_else(|| panic!("{name} in {layout:?}"))
            .1
    };
    // Nothing is written: the heap begins on the next page.
    assert_eq!(at(&of("nothing", &[]), "__heap_start"), 0x1000);
    let all = of(
        "all",
        &[
            ".rodata.a, \"a\", @progbits",
            ".constants, \"a\", @progbits",
            ".data.a, \"aw\", @progbits",
            ".bss.a, \"aw\", @progbits",
            ".variables, \"aw\", @progbits",
        ],
    );
    assert_eq!(at(&all, ".text"), 0);
    for (section, address, writable) in &all {
        assert_eq!(*address >= 0x1000, *writable || section == "__heap_start", "{section} in {all:?}");
        assert!(*address <= at(&all, "__heap_start"), "{section} in {all:?}");
    }
}
