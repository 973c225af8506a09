//! A process without file descriptors: a run goes on where it is. In a program of its own, because other tests need some.
#![cfg(target_os = "linux")]

use std::env;
use std::fs::File;
use std::time::Duration;

use flatland_machine::{Event, Machine, Outcome, Program, Wants};
use nix::libc;

#[test]
fn a_run_goes_on_where_it_is_if_there_can_be_no_vm() {
    if env::var_os("FLATLAND_TEST_WITHOUT_KVM").is_some() {
        return;
    }
    // mov ecx, 127000000; l: loop l; in al, 0xe9; pshufb mm0, mm1; hlt
    let code = [0xb9, 0xc0, 0xdd, 0x91, 7, 0xe2, 0xfe, 0xe4, 0xe9, 0x0f, 0x38, 0x00, 0xc1, 0xf4];
    let program = Program::from_bytes(code.to_vec()).unwrap();
    let builder = Machine::builder().input("a").time_limit(Duration::from_secs(120)).many_runs();
    let mut machine = builder.build(&program).unwrap();
    // Long enough to have measured the engines.
    let wants = Wants { input: true, ..Wants::default() };
    assert_eq!(machine.resume(&wants).unwrap(), Event::InputWanted);
    let limit = libc::rlimit { rlim_cur: 64, rlim_max: 64 };
    // SAFETY: the limit lives through the call.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
    let mut files = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        files.push(file);
    }
    let end = machine.run();
    drop(files);
    assert!(matches!(end, Ok(Outcome::Halted | Outcome::Fault(_))), "{end:?}");
}
