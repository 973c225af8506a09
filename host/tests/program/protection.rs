//! Memory that is protected because of the symbols, and the messages about it.

use super::elf::{SHT_PROGBITS, Section, elf};
use super::*;

on_each_engine! {
    writes_that_memory_refuses_are_named,
    what_goes_into_the_guard_is_named,
    the_stack_is_as_large_as_asked_for,
    without_symbols_nothing_is_protected,
    the_image_of_something_else_does_not_lie_in_the_guard,
    files_that_say_nothing_of_memory_protect_nothing,
    segments_at_the_end_of_the_address_space_are_refused,
}

/// Code of which no byte is in the file, so that it is that of any image.
pub const TEXT: Section = Section::zeroed(".text", 0, 0x1800, false);
const RODATA: Section = Section::zeroed(".rodata", 0x2000, 0x10, false);
pub const BSS: Section = Section::zeroed(".bss", 0x3000, 0x10, true);

/// Runs this code with these options and the symbols of a program of these sections.
#[track_caller]
fn assert_protected(
    engine: &str,
    code: &[u8],
    options: &[&str],
    sections: &[Section],
    status: i32,
    stderr: &str,
) {
    let symbols = image("protection-elf", &elf(sections));
    let output =
        flatland(engine).args(options).arg("--symbols").arg(symbols).arg(image("protection", code)).output();
    assert_ended(output.expect("flatland starts"), status, "", stderr);
}

/// The same for a fault with this sentence.
#[track_caller]
fn assert_fault(engine: &str, code: &[u8], options: &[&str], message: &str) {
    assert_protected(engine, code, options, &[TEXT, RODATA, BSS], 134, &format!("flatland: {message}\n"));
}

fn writes_that_memory_refuses_are_named(engine: &str) {
    // 0: mov [0xc], al
    let message = "null pointer write at 0x0000000c, by the instruction at 0x00000000: look for a pointer that was never \
                   set, or an offset from one";
    assert_fault(engine, &[0xa2, 0xc, 0, 0, 0], &[], message);
    for (address, section) in [(0x1234_u32, ".text"), (0x2008, ".rodata")] {
        // 0: mov [ADDRESS], al
        let message = format!(
            "write to read-only memory ({section}) at {address:#010x}, by the instruction at 0x00000000: mend the \
             pointer; or run the image without --symbols, where all of RAM can be written"
        );
        assert_fault(engine, &[&[0xa2][..], &address.to_le_bytes()].concat(), &[], &message);
    }
    // After the constants, on their page, but in no section. 0: mov [0x2800], al
    let message = "write to read-only memory at 0x00002800, by the instruction at 0x00000000: mend the pointer; or run \
                   the image without --symbols, where all of RAM can be written";
    assert_fault(engine, &[0xa2, 0, 0x28, 0, 0], &[], message);
    // 0: mov [0x3000], al; 5: mov [0x4000], al; a: hlt
    let code = [0xa2, 0, 0x30, 0, 0, 0xa2, 0, 0x40, 0, 0, 0xf4];
    assert_protected(engine, &code, &[], &[TEXT, RODATA, BSS], 0, "");
}

fn overflow(size: &str) -> String {
    format!(
        "its {size} are used up: look for a recursion without end or a large local variable, or give it more with \
         --stack SIZE"
    )
}

fn what_goes_into_the_guard_is_named(engine: &str) {
    let full = overflow("2M");
    // 0: call 0
    let message = format!("stack overflow at 0x00000000: {full}");
    assert_fault(engine, &[0xe8, 0xfb, 0xff, 0xff, 0xff], &[], &message);
    // 0: sub esp, 0x200004; 6: push eax
    let message = format!("stack overflow at 0x00000006: {full}");
    assert_fault(engine, &[0x81, 0xec, 4, 0, 0x20, 0, 0x50], &[], &message);
    // 0: sub esp, 0x200000; 6: ud2
    let message = format!("stack overflow at 0x00000006: {full}");
    assert_fault(engine, &[0x81, 0xec, 0, 0, 0x20, 0, 0x0f, 0x0b], &[], &message);

    let guard = "there is no memory from 0x00df0000 to 0x00e00000: ";
    let pointer = "mend the pointer, or give more RAM with --memory SIZE";
    // A heap overrun. 0: mov ecx, 8; 5: mov edi, 0xdefff8; a: rep stosb; with the next byte
    let message = format!(
        "write in the guard below the stack at 0x00df0000, by the instruction at 0x0000000a: {guard}{pointer}"
    );
    assert_fault(engine, &[0xb9, 9, 0, 0, 0, 0xbf, 0xf8, 0xff, 0xde, 0, 0xf3, 0xaa], &[], &message);
    // A stack overrun, downwards. 0: std; 1: mov ecx, 8; 6: mov edi, 0xe00004; b: rep stosd
    let message = format!(
        "write in the guard below the stack at 0x00dffffc, by the instruction at 0x0000000b: {guard}{pointer}"
    );
    assert_fault(engine, &[0xfd, 0xb9, 8, 0, 0, 0, 0xbf, 4, 0, 0xe0, 0, 0xf3, 0xab], &[], &message);
    // 0: mov al, [0xdfffff]
    let message = format!(
        "read in the guard below the stack at 0x00dfffff, by the instruction at 0x00000000: {guard}{pointer}"
    );
    assert_fault(engine, &[0xa0, 0xff, 0xff, 0xdf, 0], &[], &message);
    // 0: mov eax, 0xdf0000; 5: jmp eax
    let message = format!(
        "execution in the guard below the stack at 0x00df0000: {guard}look for a jump that went wrong, or code \
         that runs on past its end for want of a `hlt`"
    );
    assert_fault(engine, &[0xb8, 0, 0, 0xdf, 0, 0xff, 0xe0], &[], &message);
}

fn the_stack_is_as_large_as_asked_for(engine: &str) {
    // 0: sub esp, 0x3ffc; 6: push eax; 7: push eax
    let code = [0x81, 0xec, 0xfc, 0x3f, 0, 0, 0x50, 0x50];
    let message = format!("stack overflow at 0x00000007: {}", overflow("16K"));
    assert_fault(engine, &code, &["--stack", "16K"], &message);
    assert_fault(engine, &code, &["--stack", "16K", "--memory", "64K"], &message);
}

fn without_symbols_nothing_is_protected(engine: &str) {
    // 0: mov [0xdf0000], al; 5: mov byte [0xc], 0xf4 (hlt); c: ud2
    let code = [0xa2, 0, 0, 0xdf, 0, 0xc6, 0x05, 0xc, 0, 0, 0, 0xf4, 0x0f, 0x0b];
    assert_run(engine, "unprotected", &code, &[], 0, "", "");
    assert_run(engine, "unprotected", &code, &["--stack", "16K"], 0, "", "");
}

#[test]
fn what_does_not_fit_is_refused() {
    let large = Section { size: 0xdf_0000 - 0x3000, ..BSS };
    assert_protected("soft", HALT, &[], &[TEXT, large], 0, "");
    let too_large = || Section { size: 0xdf_0000 - 0x3000 + 1, ..BSS };
    let message = "flatland: the program takes 14273 KiB of RAM, and below its stack there are 14272 KiB of the \
                   machine's 16M: give it more RAM or a smaller stack (--memory SIZE, --stack SIZE)\n";
    assert_protected("soft", HALT, &[], &[TEXT, too_large()], 125, message);
    for options in [["--memory", "17M"], ["--stack", "1M"]] {
        assert_protected("soft", HALT, &options, &[TEXT, too_large()], 0, "");
    }
    let message = "flatland: the program takes 6 KiB of RAM, and below its stack there are 0 KiB of the machine's \
                   8K: give it more RAM or a smaller stack (--memory SIZE, --stack SIZE)\n";
    assert_protected("soft", HALT, &["--memory", "8K"], &[TEXT], 125, message);
    let message = "flatland: a stack of 1M and the guard below it leave nothing of the machine's 1M of RAM: give it \
                   a smaller stack or more RAM (--memory SIZE, --stack SIZE)\n";
    assert_run("soft", "stack", HALT, &["--memory", "1M", "--stack", "1M"], 125, "", message);
}

fn the_image_of_something_else_does_not_lie_in_the_guard(engine: &str) {
    let code = vec![0xf4; 60 << 10];
    let message = "flatland: the program takes 60 KiB of RAM, and below its stack there are 52 KiB of the machine's \
                   64K: give it more RAM or a smaller stack (--memory SIZE, --stack SIZE)\n";
    assert_protected(engine, &code, &["--memory", "64K"], &[TEXT], 125, message);
    assert_protected(engine, &code, &[], &[TEXT], 0, "");
}

fn files_that_say_nothing_of_memory_protect_nothing(engine: &str) {
    // 0: mov byte [7], 0xf4 (hlt); 7: ud2
    let code = image("odd-symbols", &[0xc6, 0x05, 7, 0, 0, 0, 0xf4, 0x0f, 0x0b]);
    let run = |symbols: &Path| flatland(engine).arg("--symbols").arg(symbols).arg(&code).output().unwrap();
    let mut elf_64 = elf(&[TEXT]);
    elf_64[4] = 2;
    let mut shared = elf(&[TEXT]);
    shared[16] = 3;
    let headers_elsewhere = elf(&[TEXT])[..60].to_vec();
    for (file, why) in [
        (elf_64, "is not of a 32-bit x86 program"),
        (shared, "is not of a 32-bit x86 program"),
        (headers_elsewhere, "is broken (Invalid ELF program header size or alignment)"),
        (elf(&[]), "has no loadable segments"),
    ] {
        let symbols = image("odd-symbols-elf", &file);
        let message = format!(
            "flatland: memory is not protected, because {} {why}: give the ELF file that the \
             image was made of as --symbols\n",
            symbols.display()
        );
        assert_ended(run(&symbols), 0, "", &message);
    }
    let message = "flatland: memory is not protected and names are left out, because /dev/null is no ELF file: give the ELF file \
                   that the image was made of as --symbols\n";
    assert_ended(run(Path::new("/dev/null")), 0, "", message);
}

/// Segments of an ELF file that extend beyond the last address are reported like others.
fn segments_at_the_end_of_the_address_space_are_refused(engine: &str) {
    let run = |start: u32, bytes: &[u8]| {
        let data = Section {
            kind: SHT_PROGBITS,
            bytes,
            ..Section::zeroed(".data", start, bytes.len() as u32, false)
        };
        let file = elf(&[TEXT, data]);
        let symbols = image("hostile-elf", &file);
        let output = flatland(engine).arg("--symbols").arg(&symbols).arg(image("hostile", HALT)).output();
        (output.expect("flatland starts"), symbols)
    };
    for (start, bytes) in [
        (0xffff_ffff, &[0][..]),
        (0xffff_ffff, &[0; 8]),
        (0xffff_f000, &[0; 0x1000]),
        (0xffff_f800, &[0; 0x2000]),
        // No memory is after the last address, so nothing there differs.
        (0xffff_ffff, &[0, 1]),
    ] {
        let (output, _) = run(start, bytes);
        let taken = (u64::from(start) + bytes.len() as u64).div_ceil(1024);
        let message = format!(
            "flatland: the program takes {taken} KiB of RAM, and below its stack there are 14272 KiB of the machine's \
             16M: give it more RAM or a smaller stack (--memory SIZE, --stack SIZE)\n"
        );
        assert_ended(output, 125, "", &message);
    }
    for (start, bytes, differs) in [
        (0xffff_ffff, &[1][..], 0xffff_ffff_u32),
        (0xffff_fffe, &[0, 1, 1], 0xffff_ffff),
        (0xffff_f800, &[&[0; 0x10][..], &[1; 0x1000]].concat(), 0xffff_f810),
    ] {
        let (output, symbols) = run(start, bytes);
        let message = format!(
            "flatland: memory is not protected and names are left out, because {} is the ELF file of another image \
             (they differ at {differs:#010x}): give the ELF file that the \
             image was made of as --symbols\n",
            symbols.display()
        );
        assert_ended(output, 0, "", &message);
    }
}

/// A file that cannot be run as a program cannot be listed either.
#[test]
fn files_that_are_no_programs_are_not_listed() {
    let section = |name, start| Section::zeroed(name, start, 0xffff_0000, true);
    let sizes = image("hostile-sizes", &elf(&[section(".bss", 0), section(".heap", 0x1000)]));
    for (arguments, why) in [
        (["size", ""], "its segment from 0x0 to 0xffff0000 lies above the most RAM that a machine can have"),
        (
            ["disasm", "f"],
            "its segment from 0x0 to 0xffff0000 lies above the most RAM that a machine can have",
        ),
    ] {
        let [command, function] = arguments;
        let mut inspect = Command::new(env!("CARGO_BIN_EXE_flatland-inspect"));
        inspect.arg(command).arg(&sizes).args(Some(function).filter(|function| !function.is_empty()));
        let output = inspect.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let begin = format!("flatland: cannot read `{}`: {why}", sizes.display());
        assert!(stderr.starts_with(&begin) && stderr.lines().count() == 1, "{stderr}");
        assert_eq!(output.status.code(), Some(125), "{stderr}");
    }
}
