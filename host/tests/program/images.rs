//! Images, symbols and RAM: what can be run, and the messages for what cannot.

use super::*;

on_each_engine! {
    an_image_may_fill_ram_to_the_last_byte,
    an_image_may_come_from_a_pipe,
    ram_is_as_large_as_asked_for,
    symbols_that_are_none_spoil_no_report,
}

#[test]
fn images_that_cannot_be_run() {
    let missing = PathBuf::from("/no/such/image.bin");
    let directory = PathBuf::from("/");
    let unreadable = image("unreadable", HALT);
    fs::set_permissions(&unreadable, fs::Permissions::from_mode(0o000)).unwrap();
    let large = image("large", &vec![0xf4; 16 << 10]);
    for (path, options, why) in [
        (&missing, &[][..], "there is no such file: check the path, or build it first"),
        (&directory, &[], "it is a directory: name the image inside it, such as target/guest/answer.bin"),
        (&image("empty", b""), &[], "it is empty: put the instruction for address 0 first"),
        (
            &large,
            &["--memory", "8K"],
            "its 16384 bytes are more than the machine's 8K of RAM: give it more with --memory SIZE",
        ),
        (
            &image("elf", b"\x7fELF and so on"),
            &[],
            "it is no 32-bit x86 ELF file: build it for i686-bare.json",
        ),
    ] {
        let output = flatland("soft").args(options).arg(path).output().unwrap();
        let message = format!("flatland: cannot run `{}`: {why}\n", path.display());
        assert_ended(output, 125, "", &message);
    }
    // Root may read everything, so this runs as a user without any rights.
    let output = shell("soft", "exec unshare --user $flatland $image", &unreadable).output().unwrap();
    let why = "no permission to read it: `chmod +r` it, or run as its owner";
    let message = format!("flatland: cannot run `{}`: {why}\n", unreadable.display());
    assert_ended(output, 125, "", &message);
}

fn an_image_may_fill_ram_to_the_last_byte(engine: &str) {
    assert_run(engine, "exact", &[0xf4; 8 << 10], &["--memory", "8K"], 0, "", "");
}

fn an_image_may_come_from_a_pipe(engine: &str) {
    let output = shell(engine, "exec $flatland <(cat $image)", &image("pipe", SAY_AND_ASK)).output().unwrap();
    assert_ended(output, 0, "A", "");
}

#[test]
fn an_endless_image_does_not_fit() {
    let output = flatland("soft").args(["--memory", "64K", "/dev/zero"]).output().unwrap();
    let message = "flatland: cannot run `/dev/zero`: its 65537 bytes are more than the machine's 64K of RAM: \
                   give it more with --memory SIZE\n";
    assert_ended(output, 125, "", message);
}

fn ram_is_as_large_as_asked_for(engine: &str) {
    // 0: push 0; 2: mov eax, [0xfffc]; 7: mov al, [0x10000]
    let code = [0x6a, 0x00, 0xa1, 0xfc, 0xff, 0, 0, 0xa0, 0, 0, 1, 0];
    let message = "flatland: read outside RAM at 0x10000 (RAM ends at 0x10000), by the instruction at 0x00000007: mend \
                   the pointer, or give more RAM with --memory SIZE\n";
    assert_run(engine, "memory", &code, &["--memory", "64K"], 134, "", message);
    // The largest size: the last byte can be read.
    let code = [0x68, 0, 0, 0, 0, 0xa0, 0xff, 0xff, 0xff, 0xef, 0xf4];
    assert_run(engine, "memory-most", &code, &["--memory", "3840M"], 0, "", "");
}

#[test]
fn a_missing_symbol_file_is_told_at_once() {
    let options = ["--symbols", "/no/such.elf"];
    let message = "flatland: cannot read --symbols `/no/such.elf` (No such file or directory (os error 2)): \
                   check the path\n";
    assert_run("soft", "no-symbols", SAY_AND_FAULT, &options, 125, "", message);
    let message = "flatland: cannot read --symbols `/` (is a directory): check the path\n";
    assert_run("soft", "no-symbols", SAY_AND_FAULT, &["--symbols", "/"], 125, "", message);
}

fn symbols_that_are_none_spoil_no_report(engine: &str) {
    let elf = image("wrong-symbols-elf", b"not an ELF file");
    let output =
        flatland(engine).arg("--symbols").arg(&elf).arg(image("wrong-symbols", SAY_AND_FAULT)).output();
    let message = format!(
        "flatland: memory is not protected and names are left out, because {} is no ELF file: give the ELF file that the \
             image was made of as --symbols\n\
         flatland: invalid opcode (#UD) at 0x00000004: {EXCEPTION}\n",
        elf.display()
    );
    assert_ended(output.unwrap(), 134, "A", &message);
}
