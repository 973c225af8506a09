//! Who sees colours: a terminal, and whoever asks for them.

use super::*;

on_each_engine! {
    a_terminal_sees_output_and_message_apart,
    a_pipe_has_colours_only_if_they_are_asked_for,
}

const RED: &str = "\u{1b}[1m\u{1b}[31m";
const RESET: &str = "\u{1b}[0m";

type Environment<'a> = &'a [(&'a str, &'a str)];

fn a_terminal_sees_output_and_message_apart(engine: &str) {
    let image = image("terminal", SAY_AND_FAULT);
    // script(1) gives it a terminal for all three streams; lines end in \r\n there.
    let on_terminal = |environment: Environment, options: &str| {
        let flatland = env!("CARGO_BIN_EXE_flatland");
        let line = format!("{flatland} --engine {engine} {options} {}", image.display());
        let mut command = Command::new("script");
        command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
        without_colors(&mut command);
        let output = command
            .stdin(Stdio::from(File::open("/dev/null").unwrap()))
            .env("TERM", "xterm")
            .envs(environment.iter().copied())
            .output()
            .expect("script(1) is there");
        assert_eq!(output.status.code(), Some(134));
        String::from_utf8(output.stdout).unwrap()
    };
    let message = format!("invalid opcode (#UD) at 0x00000004: {EXCEPTION}\r\n");
    let coloured: [(Environment, &str); 3] = [
        (&[], ""),
        (&[("NO_COLOR", "1")], "--color always"),
        (&[("NO_COLOR", "1"), ("CARGO_TERM_COLOR", "always")], ""),
    ];
    for (environment, options) in coloured {
        let text = on_terminal(environment, options);
        assert!(text.starts_with(&format!("A\r\n{RED}flatland:{RESET} {message}")), "{text:?}");
    }
    let plain: [(Environment, &str); 6] = [
        (&[("NO_COLOR", "1")], ""),
        (&[("TERM", "dumb")], ""),
        (&[("CARGO_TERM_COLOR", "never")], ""),
        (&[], "--color never"),
        (&[("CARGO_TERM_COLOR", "always")], "--color=never"),
        // The option wins, and `auto` asks NO_COLOR.
        (&[("CARGO_TERM_COLOR", "always"), ("NO_COLOR", "1")], "--color auto"),
    ];
    for (environment, options) in plain {
        let text = on_terminal(environment, options);
        assert!(
            text.starts_with(&format!("A\r\nflatland: {message}")),
            "{environment:?} {options}: {text:?}"
        );
        assert!(!text.contains('\u{1b}'), "{environment:?} {options}: {text:?}");
    }
}

fn a_pipe_has_colours_only_if_they_are_asked_for(engine: &str) {
    let image = image("piped", SAY_AND_FAULT);
    let report = image.with_extension("json");
    let piped = |environment: Environment, options: &[&str]| {
        let mut command = flatland(engine);
        command.envs(environment.iter().copied()).args(options).arg("--report").arg(&report).arg(&image);
        let output = command.output().expect("flatland starts");
        // What the guest sends and what is for programs has none.
        let json = fs::read_to_string(&report).expect("it is written");
        assert_eq!((&output.stdout[..], json.contains('\u{1b}')), (&b"A"[..], false), "{json}");
        String::from_utf8(output.stderr).unwrap()
    };
    let plain = piped(&[], &[]);
    assert!(plain.starts_with("flatland: ") && !plain.contains('\u{1b}'), "{plain:?}");
    for coloured in [piped(&[], &["--color", "always"]), piped(&[("CARGO_TERM_COLOR", "always")], &[])] {
        assert!(coloured.starts_with(&format!("{RED}flatland:{RESET} ")), "{coloured:?}");
        assert!(coloured.lines().skip(1).any(|line| line.contains('\u{1b}')), "{coloured:?}");
    }
    for word in ["auto", "never"] {
        assert_eq!(piped(&[("CARGO_TERM_COLOR", "always")], &["--color", word]), plain, "{word}");
    }
    // A value that cargo would refuse is none.
    assert_eq!(piped(&[("CARGO_TERM_COLOR", "red")], &[]), plain);
}
