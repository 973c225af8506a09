//! Tests of the command line.

use flatland_contract::Direction;

use super::*;

fn parse_words(line: &str) -> Result<Command, String> {
    parse(line.split_whitespace().map(OsString::from))
}

fn options(line: &str) -> Options {
    match parse_words(line) {
        Ok(Command::Run(options)) => *options,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn options_in_any_order_and_both_spellings() {
    let all = Options {
        program: Some("a.bin".into()),
        symbols: Some("a.elf".into()),
        from_snapshot: None,
        replay: None,
        record: Some("a.rec".into()),
        record_on_failure: None,
        leaves_program_out: true,
        save_snapshot: Some("a.snap".into()),
        memory: Some("64K".parse().unwrap()),
        stack: Some("8K".parse().unwrap()),
        timeout: Some(Duration::from_millis(1500)),
        engine: EngineChoice::Soft,
        gdb: None,
        is_sandboxed: true,
        stats: true,
        backtraces: Backtraces::Always,
        colors: Some(Colors::Never),
        coverage: Request {
            is_made: true,
            to: Some("a.info".into()),
            scope: Scope::All,
            added: vec!["b.json".into(), "c.json".into()],
            least: Some("80".parse().unwrap()),
        },
        tracks_origins: false,
        profile: None,
        report: Some("a.json".into()),
        max_instructions: Some(1000),
        trace: vec![trace::Kind::Calls],
        clock: Some(Duration::from_secs(1_000_000_000)),
        seed: Some(7),
        trace_file: Some("a.txt".into()),
        trace_filter: Some(Filter::Function("main".into())),
        trace_limit: Some(10),
        arguments: Vec::new(),
    };
    let line = "--symbols a.elf --memory 64K --stack 8K --engine soft --sandbox --stats --backtrace always --color never --report a.json \
                --save-snapshot a.snap --max-instructions 1000 --timeout 1.5 --trace calls --trace-file a.txt \
                --trace-filter main --trace-limit 10 --clock 1000000000 --seed 7 --record a.rec \
                --record-without-program --coverage=a.info --coverage-all --coverage-add b.json --coverage-add c.json --coverage-min 80 a.bin";
    assert_eq!(options(line), all);
    let line = "a.bin --coverage-min=80 --coverage-add=b.json --coverage-add=c.json --coverage-all --coverage=a.info --record-without-program --record=a.rec --seed=7 --clock=1000000000 --trace-limit=10 --trace-filter=main --trace-file=a.txt --trace=calls --timeout=1.5 \
                --max-instructions=1000 --save-snapshot=a.snap --report=a.json --backtrace=always --color=never --stats --sandbox --engine=soft \
                --stack=8K --memory=64K --symbols=a.elf";
    assert_eq!(options(line), all);
    assert_eq!(options("a.bin"), Options { program: Some("a.bin".into()), ..Options::default() });
    let gdb = Options { program: Some("a.bin".into()), gdb: Some(Address::default()), ..Options::default() };
    assert_eq!(options("--gdb a.bin"), gdb);
    let gdb = Options { gdb: Some("[::1]:99".parse().unwrap()), ..gdb };
    assert_eq!(options("--gdb=[::1]:99 a.bin"), gdb);
    let snapshot = Options { from_snapshot: Some("a.snap".into()), ..Options::default() };
    assert_eq!(options("--from-snapshot a.snap"), snapshot);
    let replay = Options { replay: Some("a.rec".into()), ..Options::default() };
    assert_eq!(options("replay a.rec"), replay);
    let replay = Options { program: Some("a.elf".into()), stats: true, ..replay };
    assert_eq!(options("replay --stats a.rec a.elf"), replay);
    let profile = Options {
        program: Some("a.bin".into()),
        profile: Some(("b.svg".into(), Format::FlameGraph)),
        ..Options::default()
    };
    assert_eq!(options("--profile b.svg a.bin"), profile);
    assert_eq!(options("a.bin --profile=b.svg"), profile);
    assert_eq!(parse_words("info a.rec"), Ok(Command::Info("a.rec".into())));
    let failures = Options {
        program: Some("a.bin".into()),
        record_on_failure: Some("a.rec".into()),
        ..Options::default()
    };
    assert_eq!(options("--record-on-failure a.rec a.bin"), failures);
    let snapshot = Options { program: Some("a.elf".into()), ..snapshot };
    assert_eq!(options("a.elf --from-snapshot=a.snap --"), snapshot);
    assert_eq!(options("a.bin --"), Options { program: Some("a.bin".into()), ..Options::default() });
}

#[test]
fn arguments_after_dashes_are_the_guests() {
    for line in ["a.bin -- --stats -- b", "-- --stats -- b"] {
        let with_image = line.starts_with("a.bin");
        let parsed = parse_words(line);
        if with_image {
            let arguments = ["--stats", "--", "b"].map(OsString::from).to_vec();
            let expected = Options { program: Some("a.bin".into()), arguments, ..Options::default() };
            assert_eq!(parsed, Ok(Command::Run(expected.into())));
        } else {
            assert_eq!(parsed, Err("no program is given".into()));
        }
    }
}

#[test]
fn help_and_version_win() {
    assert_eq!(parse_words("--help"), Ok(Command::Help));
    assert_eq!(parse_words("a.bin -h"), Ok(Command::Help));
    assert_eq!(parse_words("-V"), Ok(Command::Version));
    assert_eq!(parse_words("--version"), Ok(Command::Version));
}

#[test]
fn errors_name_the_wrong_option() {
    for (line, message) in [
        ("", "no program is given"),
        ("a b", "`b` is one argument too many, after the program `a`"),
        ("replay", "`flatland replay` needs a recording: `flatland replay FILE`"),
        ("info a b", "`b` is one argument too many, after `a`"),
        ("replay a b c", "`c` is one argument too many, after the program `b`"),
        ("replay a --memory 1M", "a replay has what its run had: leave out --memory"),
        ("replay a --seed 1", "a replay has what its run had: leave out --seed"),
        ("replay a --record b", "a replay is recorded already: copy its recording"),
        ("replay a --record-without-program", "a replay is recorded already: copy its recording"),
        (
            "a --record b --record-on-failure c",
            "--record keeps what --record-on-failure keeps, too: leave one out",
        ),
        (
            "a --record b --gdb",
            "what gdb changes is not recorded: record the run without --gdb, and then open it with `flatland replay \
             FILE --gdb`",
        ),
        ("info a --stats", "`flatland info` takes no options: `flatland info FILE`"),
        ("a --record -", "--record `-` would be among the guest's output: give a file"),
        (
            "a --record-without-program",
            "--record-without-program says how to record, and --record FILE where: give that too",
        ),
        ("--frob a", "there is no option `--frob`"),
        ("-x a", "there is no option `-x`"),
        ("a --memory", "--memory needs a value"),
        ("a --memory 0", "--memory `0` is too little: give at least 4K"),
        ("a --stack 100", "--stack `100` is not whole pages: give a multiple of 4K"),
        ("a --backtrace full", "--backtrace `full` is not a choice: give auto, always or never"),
        ("a --color red", "--color `red` is not a choice: give auto, always or never"),
        ("a --engine fast", "--engine `fast` is not an engine: choose auto, kvm or soft"),
        (
            "a --max-instructions few",
            "--max-instructions `few` is not a count: give a whole number, such as 1000000",
        ),
        ("a --trace all", "--trace `all` is no trace: choose io, calls, insn or spans"),
        (
            "a --trace io --trace-filter 0x2-0x1",
            "--trace-filter `0x2-0x1` is no filter: give part of a function's name, or addresses such as \
             0x100-0x200",
        ),
        (
            "a --trace io --trace-limit 0",
            "--trace-limit `0` is no number of lines: give a whole number, such as 1000",
        ),
        (
            "a --trace-file b",
            "--trace-file says how to trace, and --trace KIND what: choose io, calls, insn or spans",
        ),
        (
            "a --gdb=0.0.0.0:1234",
            "--gdb `0.0.0.0:1234` is not an address of this machine alone, and whoever connects owns the guest: \
             give a port, such as 1234, or a unix socket, such as unix:/tmp/gdb; from elsewhere, come through \
             ssh -L 1234:127.0.0.1:1234",
        ),
        ("a --report -", "--report `-` would be among the guest's output: give a file, or /dev/stderr"),
        ("a --save-snapshot -", "--save-snapshot `-` would be among the guest's output: give a file"),
        (
            "a --from-snapshot b --memory 1M",
            "--from-snapshot goes on with what the run had: leave out --memory",
        ),
        ("--from-snapshot b --stack 1M", "--from-snapshot goes on with what the run had: leave out --stack"),
        ("--from-snapshot b -- c", "--from-snapshot goes on with what the run had: leave out ARGS"),
        ("a --seed x", "--seed `x` is not a seed: give a whole number, such as 1"),
        ("a --clock now", "--clock `now` is not a time: give seconds since 1970, such as 1000000000"),
        ("a --timeout 0", "--timeout `0` is not a time: give seconds above 0, such as 10 or 0.5"),
        ("a --timeout -1", "--timeout `-1` is not a time: give seconds above 0, such as 10 or 0.5"),
        ("a --timeout nan", "--timeout `nan` is not a time: give seconds above 0, such as 10 or 0.5"),
        ("a --timeout 1e99", "--timeout `1e99` is not a time: give seconds above 0, such as 10 or 0.5"),
    ] {
        assert_eq!(parse_words(line), Err(message.into()), "{line}");
    }
}

#[test]
fn help_lists_every_port_of_the_contract() {
    for port in flatland_contract::Port::ALL {
        let begin = format!("  {:#x} {} ", port.number(), port.name());
        let line = HELP.lines().find(|line| line.starts_with(&begin)).expect("the port has a line");
        assert_eq!(line.contains(" in: "), port.allows(Direction::In), "{line}");
        assert_eq!(line.contains(" out: "), port.allows(Direction::Out), "{line}");
    }
}
