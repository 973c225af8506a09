//! Runs a C program from an ELF file that this machine's linker has made. The file also protects its constants and
//! names its functions.

use std::fs;
use std::path::Path;
use std::process::Command;

use flatland::x86::{Fault, FaultKind, Location};
use flatland::{EngineChoice, Machine, Outcome, Program};

const SOURCE: &str = r#"
static void out(unsigned char port, unsigned char byte) {
  __asm__ volatile("outb %0, %1" : : "a"(byte), "Nd"((unsigned short)port));
}

static const char text[] = "from C\n";

void _start(void) {
  for (const char *byte = text; *byte; byte++) {
    out(0xe9, *byte);
  }
  *(volatile char *)text = 'F';
  out(0xf4, 7);
}
"#;

#[test]
fn an_elf_file_of_a_c_program() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (source, elf) = (folder.join("c_program.c"), folder.join("c_program.elf"));
    fs::write(&source, SOURCE).expect("the folder for tests can be written");
    let mut gcc = Command::new("gcc");
    gcc.args([
        "-m32",
        "-O2",
        "-nostdlib",
        "-static",
        "-ffreestanding",
        "-fno-pic",
        "-no-pie",
        "-Wl,-Ttext=0",
    ]);
    let output = gcc.arg("-o").arg(&elf).arg(&source).output().expect("there is a C compiler");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let program = Program::open(&elf).expect("it is a program");
    let run = |program: &Program| {
        let builder = Machine::builder().engine(EngineChoice::Soft).output(Vec::new());
        let mut machine = builder.build(program).expect("it fits");
        let outcome = machine.run().expect("the host can do its work");
        assert_eq!(machine.streams().output.bytes(), b"from C\n");
        outcome
    };
    let outcome = run(&program);
    let Outcome::Fault(Fault { kind: FaultKind::ReadOnly { address }, location: Location::At(at) }) = outcome
    else {
        panic!("{outcome:?}")
    };
    assert_eq!((program.section(at), program.section(address)), (Some(".text"), Some(".rodata")));
    #[cfg(feature = "symbols")]
    {
        let symbols = program.symbols().expect("it has names").expect("it is an ELF file");
        assert_eq!(symbols.functions(at)[0].name.as_deref(), Some("_start"));
    }

    // A flat image has no information about constants.
    let flat = Program::from_bytes(program.image().bytes().to_vec()).expect("it has bytes");
    assert_eq!(run(&flat), Outcome::Exited(7));
}
