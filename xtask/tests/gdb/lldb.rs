//! LLDB instead of gdb, as docs/debugging.md shows it.

use std::io::{Read, Write};
use std::process::Command;

use super::editors::machine_that_waits;
use super::{lock, page, root};

#[test]
fn the_documented_session() {
    let _lock = lock();
    let text = page();
    let (_, session) = text.split_once("    lldb target/guest/answer.elf\n").expect("it is documented");
    let commands: Vec<_> = session.lines().map_while(|line| line.trim().strip_prefix("(lldb) ")).collect();
    assert_eq!(commands[0], "gdb-remote 127.0.0.1:1234");
    let (mut machine, address) = machine_that_waits();
    machine.stdin.take().expect("it is piped").write_all(b"HAL*").expect("it is read");
    let mut lldb = Command::new("timeout");
    lldb.args(["60", "lldb", "--no-lldbinit", "--batch", "target/guest/answer.elf"]).current_dir(root());
    for command in &commands {
        lldb.args(["-o", &command.replace("127.0.0.1:1234", &address)]);
    }
    let output = lldb.output().expect("timeout (coreutils) starts");
    assert_ne!(output.status.code(), Some(127), "this test needs lldb: install it with `apt install lldb`");
    let said = String::from_utf8_lossy(&output.stdout);
    let mut rest = &*said;
    for expected in [
        "answer.elf`flatland_guest::console::write_byte(byte='I') at console.rs:",
        "answer.elf`__flatland_main at answer.rs:",
        "(unsigned char) byte = 'I'",
        "Process 1 exited with status = 0",
    ] {
        let (_, behind) = rest.split_once(expected).unwrap_or_else(|| panic!("no {expected}: {said}"));
        rest = behind;
    }
    assert_eq!(machine.wait().expect("it ends").code(), Some(0));
    let mut sent = String::new();
    machine.stdout.take().expect("it is piped").read_to_string(&mut sent).expect("it is UTF-8");
    assert_eq!(sent, "IBM");
}
