//! The command line.

use super::*;

#[test]
fn wrong_command_lines() {
    let hint = "; `flatland --help` lists what there is";
    for (args, message) in [
        (&[][..], "no program is given"),
        (&["a.bin", "b.bin"], "`b.bin` is one argument too many, after the program `a.bin`"),
        (&["--fast", "a.bin"], "there is no option `--fast`"),
        (&["-ex", "a.bin"], "there is no option `-ex`"),
        (&["--memory", "0", "a.bin"], "--memory `0` is too little: give at least 4K"),
        (
            &["--memory", "much", "a.bin"],
            "--memory `much` is not a size: give a number of bytes, or one with K, M or G, such as 16M",
        ),
        (
            &["--memory", "4G", "a.bin"],
            "--memory `4G` is more than the address space leaves for RAM: give at most 3840M",
        ),
        (
            &["--timeout", "soon", "a.bin"],
            "--timeout `soon` is not a time: give seconds above 0, such as 10 or 0.5",
        ),
    ] {
        let output = flatland("soft").args(args).output().unwrap();
        assert_ended(output, 2, "", &format!("flatland: {message}{hint}\n"));
    }
}

#[test]
fn misspelled_options_are_understood() {
    for (given, meant) in [
        ("--stat", "--stats"),
        ("--max-instruction=3", "--max-instructions"),
        ("--tiemout", "--timeout"),
        ("-stats", "--stats"),
        ("--hlep", "--help"),
    ] {
        let output = flatland("soft").args([given, "a.bin"]).output().unwrap();
        let name = given.split('=').next().unwrap();
        let message = format!("flatland: there is no option `{name}`: did you mean `{meant}`?\n");
        assert_ended(output, 2, "", &message);
    }
}

#[test]
fn help_and_version_go_to_standard_output() {
    let output = flatland("soft").arg("--help").output().unwrap();
    assert_eq!((output.status.code(), &output.stderr[..]), (Some(0), &b""[..]));
    assert!(output.stdout.starts_with(b"Run a program on a bare 32-bit processor.\n"));
    let version = concat!("flatland ", env!("CARGO_PKG_VERSION"), "\n");
    assert_ended(flatland("soft").arg("--version").output().unwrap(), 0, version, "");
    let output = shell("soft", "exec $flatland --help > /dev/full", &PathBuf::new()).output().unwrap();
    let message = "flatland: standard output cannot be written (No space left on device (os error 28)): send it \
                   elsewhere\n";
    assert_ended(output, 125, "", message);
}
