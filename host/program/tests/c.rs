//! C programs, linked by the linker of this machine and by lld: their images, and names and lines where the linker has
//! dropped functions.

#[path = "../../tests/common/random.rs"]
mod random;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use flatland_program::{ElfError, Function, Program, ProgramError, Symbols};
use flatland_x86::MemorySize;
use random::Random;

/// Functions that are called, and shorter and longer ones that are not; optimized, the longest lies in two ranges. Each ends
/// with a line `}`.
const SOURCE: &str = r#"
volatile int sink;
__attribute__((section(".flatland.tests"))) const int constants[2] = {1, 2};
int variable = 7;

int called(int x);
__attribute__((cold)) int rare(int x);

void _start(void) {
  sink = called(5) + variable;
  sink = constants[sink & 1];
  __asm__ volatile("hlt");
}

int dropped_short(int x) {
  return x;
}

__attribute__((noinline)) int called(int x) {
  for (int i = 0; i < x; i++) {
    sink += i * x;
  }
  return sink;
}

__attribute__((noinline)) int rare(int x) {
  return sink + x * 17;
}

int dropped_long(int x) {
  for (int i = 0; i < x; i++) {
    sink += i * x;
    sink -= i + x;
    sink *= i + 2 * x;
    sink ^= i + 3 * x;
    sink += i * 5 * x;
    if (sink == 1000) {
      sink = rare(x) + rare(sink);
      sink = rare(x) * rare(sink);
    }
  }
  for (int i = 0; i < x; i++) {
    sink += called(i) + called(i + 1) + called(i + 2);
  }
  return called(sink) + called(x);
}
"#;

/// The same with many such long functions, and the entry behind all of them, in a section that linkers put first: which
/// of several functions at an address a debugger takes depends on their order.
fn entry_last() -> String {
    let at = |text| SOURCE.find(text).expect("it is there");
    let (entry, long) =
        (&SOURCE[at("void _start(")..at("int dropped_short(")], &SOURCE[at("int dropped_long(")..]);
    let copies: String =
        (0..8).map(|number| long.replace("dropped_long", &format!("dropped_{number}"))).collect();
    let section = "__attribute__((section(\".text.unlikely.entry\"))) ";
    format!("{}{copies}{section}{entry}", SOURCE.replace(entry, "void _start(void);\n"))
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

#[track_caller]
fn succeeds(command: &mut Command) {
    let output = command.output().expect("there is a C compiler");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn gcc() -> Command {
    let mut gcc = Command::new("gcc");
    // In the order of the source: the entry comes first.
    gcc.args([
        "-m32",
        "-ffreestanding",
        "-fno-pic",
        "-fno-asynchronous-unwind-tables",
        "-fno-toplevel-reorder",
    ]);
    gcc
}

/// Links the program as people do it at home.
fn link(name: &str, options: &[&str]) -> PathBuf {
    link_source(SOURCE, name, &[&["-Wl,-Ttext=0"], options].concat())
}

fn link_source(text: &str, name: &str, options: &[&str]) -> PathBuf {
    let (source, elf) = (file(&format!("{name}.c")), file(&format!("{name}.elf")));
    fs::write(&source, text).expect("the folder for tests can be written");
    let mut gcc = gcc();
    gcc.args(["-nostdlib", "-static", "-no-pie", "-Wl,--gc-sections"]);
    succeeds(gcc.args(options).arg("-o").arg(&elf).arg(&source));
    elf
}

fn lld() -> Command {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).args(["--print", "target-libdir"]).output().expect("there is rustc");
    let libraries = PathBuf::from(String::from_utf8(output.stdout).expect("UTF-8").trim());
    let mut lld = Command::new(libraries.with_file_name("bin").join("rust-lld"));
    lld.args(["-flavor", "gnu", "-m", "elf_i386", "-static"]);
    lld
}

/// Links the program with lld, as rustc does.
fn link_with_lld(text: &str, name: &str, options: &[&str]) -> PathBuf {
    let [source, object, script, elf] =
        ["c", "o", "ld", "elf"].map(|suffix| file(&format!("{name}.{suffix}")));
    fs::write(&source, text).expect("the folder for tests can be written");
    let sections = "SECTIONS { .text 0 : { *(.text.unlikely.entry .text._start) *(.text*) } .data 0x1000 : { *(.data* .bss* .rodata* .flatland.tests) } }";
    fs::write(&script, sections).expect("the folder for tests can be written");
    succeeds(gcc().args(options).arg("-c").arg("-o").arg(&object).arg(&source));
    let mut lld = lld();
    lld.args(["--gc-sections", "-T"]).arg(script);
    succeeds(lld.arg("-o").arg(&elf).arg(object));
    elf
}

/// The lines of the source in which this function stands.
fn lines_of(source: &str, function: &str) -> std::ops::RangeInclusive<u32> {
    let begins =
        |line: &str| line.contains(&format!("{function}(")) && line.ends_with('{') && !line.starts_with(' ');
    let first = source.lines().position(begins).expect("it is in the source");
    let len = source.lines().skip(first).position(|line| line == "}").expect("it ends");
    first as u32 + 1..=(first + len) as u32 + 1
}

/// Each address of each function has its name, and one of its lines.
#[track_caller]
fn assert_names(source: &str, elf: &Path) {
    let program = Program::open(elf).expect("it is a program");
    let symbols = program.symbols().expect("it has names").expect("it is an ELF file");
    let functions: Vec<_> =
        symbols.table().iter().filter(|symbol| symbol.is_code && symbol.size > 0).collect();
    let names: Vec<_> = functions.iter().map(|symbol| &*symbol.name).collect();
    assert_eq!(names, ["_start", "called"]);
    for symbol in functions {
        for address in symbol.start..symbol.start + symbol.size {
            let all = symbols.functions(address);
            let at = format!("{address:#x} of {}: {all:?}", elf.display());
            let [function] = all.as_slice() else { panic!("{at}") };
            assert_eq!(function.name.as_ref(), Some(&symbol.name), "{at}");
            let place = function.source.as_ref().unwrap_or_else(|| panic!("{at}"));
            assert!(lines_of(source, &symbol.name).contains(&place.line), "{at}");
        }
    }
}

#[test]
fn dropped_functions_are_never_named() {
    for dwarf in ["-gdwarf-4", "-gdwarf-5"] {
        for optimization in ["-O0", "-O2"] {
            let options = ["-Wl,-Ttext=0", dwarf, optimization, "-ffunction-sections"];
            for (order, source) in [("first", SOURCE), ("last", &entry_last())] {
                let name = format!("dropped{dwarf}{optimization}-{order}");
                assert_names(source, &link_source(source, &format!("{name}-ld"), &options));
                assert_names(source, &link_with_lld(source, &format!("{name}-lld"), &options));
            }
        }
    }
}

#[test]
fn assembly_keeps_its_name_and_lines() {
    let assembly = file("start.s");
    fs::write(&assembly, ".text\n.global _start\n_start:\n  call start_of_c\n  hlt\n")
        .expect("it can be written");
    let assembly = assembly.to_str().expect("UTF-8");
    for dwarf in ["-gdwarf-4", "-gdwarf-5"] {
        let source = entry_last().replace(".text.unlikely.entry", ".text.c").replace("_start", "start_of_c");
        let options = ["-Wl,-Ttext=0", dwarf, "-ffunction-sections", assembly];
        let program =
            Program::open(link_source(&source, &format!("assembly{dwarf}"), &options)).expect("it is one");
        let symbols = program.symbols().expect("it has names").expect("it is an ELF file");
        for (address, line) in [(0, 4), (5, 5)] {
            let function = innermost(&symbols, address);
            assert_eq!(function.name.as_deref(), Some("_start"), "{dwarf}");
            let source = function.source.expect("assembly has lines");
            assert_eq!((&*source.shown, source.line), (assembly, line), "{dwarf}");
        }
    }
}

/// The innermost function at an address.
fn innermost(symbols: &Symbols, address: u32) -> Function {
    symbols.functions(address).into_iter().next().unwrap_or_default()
}

#[test]
fn an_elf_file_is_a_program_with_all_that_is_known_of_it() {
    let elf = link("whole", &["-g", "-O1"]);
    let program = Program::open(&elf).expect("it is a program");
    assert_eq!(program.elf(), Some(&*elf));
    assert_eq!(program.section(0), Some(".text"));
    assert_eq!(program.section(0xe000_0000), None);
    assert_eq!(program.tests(), [1, 0, 0, 0, 2, 0, 0, 0]);
    let symbols: Symbols = program.symbols().expect("it has names").expect("it is an ELF file");
    let names = symbols.table().iter().map(|symbol| &*symbol.name).collect::<Vec<_>>();
    assert!(names.starts_with(&["_start"]), "{names:?}");
    let find = |name| symbols.table().iter().find(|symbol| symbol.name == name).expect("it has a symbol");
    // All functions are in one section of the object file, with one sequence of lines.
    for name in ["_start", "called", "dropped_long"] {
        let function = &symbols.functions(find(name).start)[0];
        let source = function.source.as_ref().expect("it has lines");
        assert_eq!((function.name.as_deref(), source.line), (Some(name), *lines_of(SOURCE, name).start()));
        assert_eq!(symbols.function_start(find(name).start + 1), Some(find(name).start));
    }
    assert!(symbols.functions(find("variable").start).is_empty());

    let map = program.memory_map(MemorySize::default(), None).expect("it fits");
    let is_read_only =
        |name| map.read_only().iter().any(|range: &std::ops::Range<u32>| range.contains(&find(name).start));
    assert!(is_read_only("_start") && is_read_only("constants"));
    assert!(!is_read_only("variable") && !is_read_only("sink"));

    // The same, from a flat image and the ELF file.
    let mut flat = Program::from_bytes(program.image().bytes().to_vec()).expect("it has bytes");
    assert!(flat.symbols().expect("there is nothing to read").is_none());
    flat.add_elf(&elf).expect("it is this image's");
    assert_eq!(flat.memory_map(MemorySize::default(), None), program.memory_map(MemorySize::default(), None));
}

/// Without a script lld puts the file's headers where the code is.
#[test]
fn lld_needs_no_script() {
    let object = link_with_lld(SOURCE, "script", &["-ffunction-sections"]).with_extension("o");
    let elf = file("no-script.elf");
    let options = ["--image-base=0", "-Ttext=0", "--build-id"];
    succeeds(lld().args(options).arg("-o").arg(&elf).arg(&object));
    let program = Program::open(&elf).expect("it is a program");
    assert_eq!(program.section(0), Some(".text"));
    let symbols = program.symbols().expect("it has names").expect("it is an ELF file");
    assert_eq!(innermost(&symbols, 0).name.as_deref(), Some("_start"));
}

#[test]
fn what_is_no_program_is_told_in_a_sentence() {
    let error = |elf: PathBuf| Program::open(elf).expect_err("it is no program").to_string();
    assert_eq!(
        error(link_source(SOURCE, "position-independent", &["-fpie", "-static-pie"])),
        "it is not statically linked at fixed addresses: link it with flatland-guest's flatland.ld and without shared libraries"
    );
    let entry = error(link("entry", &["-Wl,-e0x10"]));
    assert!(
        entry.starts_with("its entry is 0x10 and not 0x0: link it with flatland-guest's flatland.ld, and "),
        "{entry}"
    );
    let above = error(link("above", &["-Wl,-Tdata=0xfffff000"]));
    assert!(above.starts_with("its segment from 0xfffff000 to 0xfffff"), "{above}");
    assert!(above.ends_with("which ends at 0xf0000000: mend the addresses in the linker script"), "{above}");
    // The image would be more than 3 GiB of nothing.
    let far = error(link("far", &["-Wl,-Tdata=0xe0000000"]));
    assert!(far.starts_with("below its segment at 0xe0000000 its flat image would have 3758"), "{far}");
    assert!(far.ends_with(" bytes of gaps: mend the addresses in the linker script"), "{far}");
    let endless = file("endless.elf");
    fs::copy(file("far.elf"), &endless).expect("the folder for tests can be written");
    let large = fs::OpenOptions::new().write(true).open(&endless).expect("it is there");
    large.set_len(ElfError::MOST_BYTES + 1).expect("holes take no room");
    assert_eq!(error(endless), "the file is larger than 1024 MiB: strip its debug information");
    let large = link("large", &["-Wl,-Tdata=0x200000"]);
    let too_large = Program::open_for(large, MemorySize::mib(1)).expect_err("it does not fit").to_string();
    assert!(too_large.ends_with(" are more than the machine's 1M of RAM: give it more"), "{too_large}");
}

#[test]
fn compressed_debug_information_is_refused_with_advice() {
    let elf = link("compressed", &["-g", "-gz=zlib"]);
    let program = Program::open(&elf).expect("it is a program");
    let error = program.symbols().err().expect("it cannot be read").to_string();
    let begin = format!("no names from {} (.debug_", elf.display());
    assert!(error.starts_with(&begin), "{error}");
    assert!(error.ends_with(" is compressed): link it with --compress-debug-sections=none"), "{error}");
}

#[test]
fn a_file_that_has_changed_since_has_no_names() {
    let elf = link("changed", &["-g"]);
    let program = Program::open(&elf).expect("it is a program");
    link("changed", &["-g", "-O2"]);
    let error = program.symbols().err().expect("it is another program's").to_string();
    assert!(error.contains("(it is another image's: they differ at 0x0000"), "{error}");
}

#[test]
fn a_pipe_is_opened_once() {
    let pipe = file("pipe");
    let _ = fs::remove_file(&pipe);
    succeeds(Command::new("mkfifo").arg(&pipe));
    // More than a pipe holds.
    let bytes = vec![0xf4; 1 << 20];
    let (to, expected) = (pipe.clone(), bytes.clone());
    let writer = std::thread::spawn(move || fs::write(to, bytes));
    let program = Program::open(&pipe).expect("it is a flat image");
    assert_eq!(program.image().bytes(), expected);
    writer.join().expect("no panic").expect("all of it is read");
}

/// Each symbol has the same name, as long as the file.
#[test]
fn names_take_no_more_memory_than_the_file() {
    let elf = link("names", &[]);
    let mut file = fs::read(&elf).expect("it was linked");
    let word = |file: &[u8], at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap()) as usize;
    let sections = word(&file, 32);
    let header = |number: usize| sections + 40 * number;
    let count = usize::from(file[48]);
    let symbols = (0..count).map(header).find(|header| word(&file, header + 4) == 2).expect("it has symbols");
    let (start, size, strings) =
        (word(&file, symbols + 16), word(&file, symbols + 20), word(&file, symbols + 24));
    for symbol in (start..start + size).step_by(16) {
        file[symbol..symbol + 4].fill(0);
    }
    let place = [file.len() as u32, 1 << 20].map(u32::to_le_bytes).concat();
    file[header(strings) + 16..header(strings) + 24].copy_from_slice(&place);
    file.resize(file.len() + (1 << 20) - 1, b'a');
    file.push(0);
    fs::write(&elf, &file).expect("the folder for tests can be written");
    let symbols = Program::open(&elf).expect("it is a program").symbols().expect("it has names");
    let lens: Vec<_> =
        symbols.expect("it is an ELF file").table().iter().map(|symbol| symbol.name.len()).collect();
    assert!(lens.contains(&((1 << 20) - 1)) && lens.len() > 3, "{lens:?}");
    assert!(lens.iter().sum::<usize>() < file.len(), "{lens:?}");
}

/// A file that is cut off, or has other bytes, is told of or makes a program: it is no panic, and no matter of minutes.
#[test]
fn hostile_files() {
    let elf = link("hostile", &["-gdwarf-5", "-O2", "-ffunction-sections"]);
    let whole = fs::read(&elf).expect("it was linked");
    let path = file("hostile-broken.elf");
    let image = Program::open(&elf).expect("it is a program").image().clone();
    let flat = Program::from(image);
    let open = |bytes: &[u8]| {
        fs::write(&path, bytes).expect("the folder for tests can be written");
        let program = Program::open_for(&path, MemorySize::mib(16));
        let _ = flat.clone().add_elf(&path);
        if let Ok(program) = &program
            && let Ok(Some(symbols)) = program.symbols()
        {
            for address in 0..0x100 {
                let _ = symbols.functions(address);
            }
        }
        program
    };
    let mut refused = 0;
    for len in (4..whole.len()).step_by(whole.len() / 100) {
        let result = open(&whole[..len]);
        refused += 1;
        assert!(
            matches!(result, Err(ProgramError::Elf(ElfError::Broken(_) | ElfError::NotElf))),
            "{len} bytes: {result:?}"
        );
    }
    assert!(refused > 90);
    let mut random = Random::new(1);
    let mut opened = 0;
    for number in 0..1000 {
        let mut broken = whole.clone();
        // The headers matter most, and are small.
        let reach = if number % 2 == 0 { 0xb4 } else { broken.len() };
        random.overwrite(&mut broken[..reach], 4);
        opened += u32::from(open(&broken).is_ok());
    }
    // Otherwise one half of it was not tested.
    assert!((100..1000).contains(&opened), "{opened}");
}
