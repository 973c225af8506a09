//! Tests of guests that nobody has written with good intent: what they are called, and how much they send.

#[path = "../../host/tests/common/elf.rs"]
mod elf;

use std::fs;
use std::path::Path;
use std::process::Command;

use flatland_contract::test::{Record, SECTION};

#[test]
fn a_test_writes_nowhere_else_and_sends_no_more_than_is_kept() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("hostile");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(folder.join("failures")).expect("the folder for tests can be written");
    // mov ebx, 10; mov dx, 0xe9; 9: mov esi, 0x1000; mov ecx, 0x100000; rep outsb; dec ebx; jnz 9; mov al, 7; out 0xf4, al
    let code = [
        0xbb, 10, 0, 0, 0, 0x66, 0xba, 0xe9, 0, 0xbe, 0, 0x10, 0, 0, 0xb9, 0, 0, 0x10, 0, 0xf3, 0x6e, 0x4b,
        0x75, 0xf1, 0xb0, 7, 0xe6, 0xf4,
    ];
    let name = b"../stays";
    let (start, len) = (code.len() as u32, name.len() as u32);
    // The name; no file, reason or text of a panic; 10 seconds, and any RAM.
    let record = [Record::<u32, u32>::MAGIC, 0, start, len, 0, 0, 7, 0, 0, 0, 0, 0, 10, 0, 0];
    let record: Vec<u8> = record.iter().flat_map(|word| word.to_le_bytes()).collect();
    let path = folder.join("hostile.elf");
    let code = [&code[..], name].concat();
    let file = elf::elf(&[elf::Section::code(&code), elf::Section::not_loaded(SECTION, &record)]);
    fs::write(&path, file).expect("it can be written");
    fs::write(folder.join("stays.rec"), "mine").expect("it can be written");

    let mut command = Command::new(env!("CARGO_BIN_EXE_flatland-test"));
    command.args(["--engine", "soft", "--failures", "failures"]).arg(path).current_dir(&folder);
    let output = command.env_remove("FLATLAND_CARGO").output().expect("it starts");
    assert_eq!(output.status.code(), Some(101), "{}", String::from_utf8_lossy(&output.stderr));
    let stdout = String::from_utf8_lossy(&output.stdout);
    let begin = "\nrunning 1 test\ntest ../stays ... FAILED\n\nfailures:\n\n---- ../stays stdout ----\n\
                 flatland: 6291456 bytes before these are left out, because only the last 4 MiB are kept: send less\n";
    assert!(stdout.starts_with(begin), "{}", &stdout[..500]);
    let end = "\nthe test at :7 ended with status 7\n\
               recorded: `cargo flatland gdb --replay failures/---stays.rec` opens it in gdb at the failure\n\n\n\
               failures:\n    ../stays\n\n\
               test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in ";
    let (tests, _) = stdout.rsplit_once("finished in ").expect("it ends like that");
    assert!(format!("{tests}finished in ").ends_with(end), "{}", &stdout[stdout.len() - 600..]);
    assert_eq!(stdout.len() - begin.len() - end.len(), (4 << 20) + "0.00s\n\n".len());
    assert_eq!(fs::read(folder.join("stays.rec")).expect("it is there"), b"mine");
    assert!(folder.join("failures/---stays.rec").is_file());
}
