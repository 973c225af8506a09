//! The commands: a table, and the help that is made of it. Its texts name them as `cargo flatland`, and are shown with the
//! names of the call.

use crate::caller;

/// A command, or a form of one.
#[derive(Debug)]
pub struct Doc {
    /// The words after `cargo flatland`; the first one is the command's name.
    pub usage: &'static str,
    /// What it does, in a line.
    pub about: &'static str,
    /// The command's own options, each as `--name`, `--name VALUE` or `--name[=VALUE]`, and what they do.
    pub options: &'static [(&'static str, &'static str)],
    /// The program that receives all other options. If `None`, other options are errors.
    pub passed_to: Option<&'static str>,
    /// More text for the help.
    pub more: &'static str,
}

const RELEASE: (&str, &str) =
    ("--release", "build the guest program optimized for size, without overflow checks");
const MESSAGES: (&str, &str) = (
    "--message-format FORMAT",
    "cargo's messages of the build: with json and its like, they are on standard output",
);
const FOR_FLATLAND: &str = "\
The other options go to flatland, and NAME stands before them: --memory SIZE, --timeout SECONDS and whatever else
`cargo flatland flatland --help` lists.
";

const FOR_GDB: &str = "\
The other options go to flatland, and NAME stands before them: --memory SIZE, --timeout SECONDS and whatever else
`cargo flatland flatland --help` lists.

With --replay, NAME is an ELF file. It is needed only where the program's own is no longer what it was when the run was
recorded. The run is at its end then; `goto start` goes to its beginning.
";

/// The options of the guest's tests.
const GUEST_TESTS: &[(&str, &str)] = &[
    ("--engine ENGINE", "what runs them: auto, kvm or soft"),
    ("--memory SIZE", "the machine's RAM: bytes, or such as 64K, 16M (the default), 1G"),
    ("--stack SIZE", "how much of it is the stack's (default: an eighth)"),
    ("--coverage[=FILE]", "say which lines of the crate the tests execute, and write it to FILE"),
    ("--coverage-all", "also of libraries and the standard library"),
    ("--coverage-add FILE", "add what an earlier --coverage=FILE.json has counted; may be repeated"),
    ("--coverage-min PERCENT", "fail with status 123 if fewer of the lines were executed"),
    MESSAGES,
];

/// Options of a run that `test` does not have, and what to do instead.
pub const NOT_OF_TESTS: &[(&[&str], &str)] = &[
    (
        &[
            "--backtrace",
            "--max-instructions",
            "--profile",
            "--report",
            "--sandbox",
            "--save-snapshot",
            "--stats",
            "--symbols",
            "--trace",
            "--trace-file",
            "--trace-filter",
            "--trace-limit",
            "--track-origins",
        ],
        "is of one run: give it to `cargo flatland run NAME`, or to `cargo flatland replay FILE`, with the recording that a failed test \
         leaves",
    ),
    (&["--gdb"], "is of one run: a failed test leaves a recording, and says how to open it in gdb"),
    (
        &["--record", "--record-on-failure", "--record-without-program"],
        "is not needed: a failed test leaves a recording, and says where",
    ),
    (&["--timeout"], "is of one run: for a limit other than 10 s, write `#[timeout(SECONDS)]` above a test"),
    (
        &["--clock", "--from-snapshot", "--release", "--seed"],
        "is of a run and not of tests: give it to `cargo flatland run NAME`",
    ),
];

const FOR_REPLAY: &str = "\
The options go to flatland: --trace KIND, --max-instructions COUNT and whatever else `cargo flatland flatland --help` lists.
Names are those of the program's ELF file, where that is still what it was; otherwise ELF gives them.

`cargo flatland gdb --replay FILE` opens it in gdb.
";

const FOR_INIT: &str = "\
`cargo flatland` needs none of these files. With them `cargo run`, `cargo test` and `cargo clippy` work too, with a nightly
toolchain, or with RUSTC_BOOTSTRAP=1 in the environment. A file that is there and differs stays as it is; what to add is
printed.
";

const FOR_COMPLETIONS: &str = "\
bash: source <(cargo flatland completions bash), in ~/.bashrc
zsh: cargo flatland completions zsh >FOLDER/_cargo-flatland, in a folder of $fpath
fish: cargo flatland completions fish >~/.config/fish/conf.d/flatland.fish
PowerShell: cargo flatland completions powershell | Out-String | Invoke-Expression, in $PROFILE
";

const FOR_FUZZ: &str = "\
NAME is a guest program that reads its standard input, such as one with `flatland_guest::fuzz!`, or the path of a flat
image or an ELF file. It runs on the soft engine, again and again from where it first asks for input. A panic, a fault and
a hang are findings. For each one there is a folder with the input, a short one that does the same, the report, and a
recording of the run. The status is 1 if something was found.
";

/// The commands that guests' packages have.
pub const COMMANDS: &[Doc] = &[
    Doc {
        usage: "run [NAME] [OPTIONS] [-- ARGS]",
        about: "build a guest program and run it (default: answer); ARGS are for the guest",
        options: &[RELEASE, MESSAGES],
        passed_to: Some("flatland"),
        more: FOR_FLATLAND,
    },
    Doc {
        usage: "gdb [NAME] [OPTIONS] [-- ARGS]",
        about: "build a guest program and run it in gdb, stopped at its main",
        options: &[
            RELEASE,
            ("--input FILE", "where the guest's input comes from (default: /dev/null)"),
            ("--output FILE", "where its output goes: a file, or another terminal (default: target/guest/NAME.output)"),
            ("-x FILE", "gdb's own: commands to begin with"),
            ("-ex COMMAND", "gdb's own: one of them"),
            ("--batch", "gdb's own: end when these are through"),
            ("--replay FILE", "a recorded run in place of a program, at its end: from there gdb goes back"),
        ],
        passed_to: Some("flatland"),
        more: FOR_GDB,
    },
    Doc {
        usage: "replay FILE [ELF] [OPTIONS]",
        about: "run a recorded run again, with its input and no other; `run NAME --record FILE` records one",
        options: &[],
        passed_to: Some("flatland"),
        more: FOR_REPLAY,
    },
    Doc {
        usage: "build [NAME]",
        about: "build one guest program, or all of them, as target/guest/NAME.bin and NAME.elf",
        options: &[RELEASE, MESSAGES],
        passed_to: None,
        more: "",
    },
    Doc {
        usage: "list",
        about: "list the guest programs there are",
        options: &[],
        passed_to: None,
        more: "",
    },
    Doc {
        usage: "disasm NAME [FUNCTION]",
        about: "list a program's instructions beside its source: of functions with FUNCTION in their names",
        options: &[RELEASE],
        passed_to: None,
        more: "",
    },
    Doc {
        usage: "size NAME",
        about: "list what takes the room in a program, by section, crate and function",
        options: &[
            RELEASE,
            ("--svg FILE", "draw it as a treemap, for a browser"),
            ("--against ELF", "list the differences to an earlier build, such as a copy of target/guest/NAME.elf"),
        ],
        passed_to: None,
        more: "",
    },
    Doc {
        usage: "new NAME",
        about: "make a guest program in the package here; where there is none, or with --path, a package with it",
        options: &[
            ("--path FOLDER", "make a package there"),
            ("--fuzz", "make a fuzz target, which is called with all of its input"),
        ],
        passed_to: None,
        more: "",
    },
    Doc {
        usage: "init",
        about: "let a plain cargo, and editors, know the bare machine: write .cargo/config.toml and what it needs",
        options: &[],
        passed_to: None,
        more: FOR_INIT,
    },
    Doc {
        usage: "doctor",
        about: "say what this machine has of what the commands need, and what gets the rest",
        options: &[],
        passed_to: None,
        more: "The status is 0 if all is there that `run` needs, and otherwise 1.\n",
    },
    Doc {
        usage: "flatland -- IMAGE [ARGS]",
        about: "run a flat image: the program flatland with these arguments, such as --help",
        options: &[],
        passed_to: Some("flatland"),
        more: "",
    },
    Doc {
        usage: "test [FILTER] [-- ARGS]",
        about: "run the guest's own tests, each in a fresh machine (seconds); ARGS are those of libtest",
        options: GUEST_TESTS,
        passed_to: None,
        more: "\
FILTER is a part of a test's name. The name begins with that of its program or its file of tests; where FILTER is one of
these, or begins with one and `::`, no others are built and run, unless it has no tests.
",
    },
    Doc {
        usage: "fuzz NAME [OPTIONS] [-- ARGS]",
        about: "run a guest program on inputs that LibAFL makes, and keep those that it ends badly on",
        options: &[
            ("--release", "build the guest program optimized for size, without overflow checks"),
            ("--seconds N", "end after this time; without a limit, Ctrl-C ends it"),
            ("--runs N", "end after this many runs"),
            ("--seed N", "the seed of the mutators: one seed does the same each time (default: 0)"),
            ("--max-len BYTES", "the longest input (default: 4096)"),
            ("--max-instructions N", "a run that executes more of them on an input hangs (default: 1000000)"),
            ("--memory SIZE", "the guest's RAM (default: 16M)"),
            ("--stack SIZE", "how much of it is the stack's (default: an eighth)"),
            ("--seeds PATH", "a file or a folder with inputs to begin with, beside the corpus"),
            ("--dictionary FILE", "tokens for inputs, in AFL's format"),
            ("--corpus FOLDER", "the inputs that execute new code (default: target/fuzz/NAME/corpus)"),
            ("--findings FOLDER", "what it found (default: target/fuzz/NAME/findings)"),
            ("--jobs N", "this many at once, which share what is new"),
            ("--listen PORT", "where brokers of other machines connect, over an ssh tunnel"),
            ("--connect HOST:PORT", "another broker to share with"),
            ("--regress", "instead, run the findings again: status 1 if one still ends badly"),
            ("--minimize", "instead, remove inputs that execute nothing but what smaller ones execute"),
            ("--coverage[=FILE]", "instead, say which lines the corpus executes, and write it to FILE"),
            ("--coverage-all", "also of libraries and the standard library"),
            ("--coverage-add FILE", "add what an earlier --coverage=FILE.json has counted; may be repeated"),
            ("--coverage-min PERCENT", "fail with status 123 if fewer of the lines were executed"),
        ],
        passed_to: None,
        more: FOR_FUZZ,
    },
    Doc {
        usage: "completions SHELL",
        about: "print what completes these commands, and flatland, in bash, zsh, fish or powershell",
        options: &[],
        passed_to: None,
        more: FOR_COMPLETIONS,
    },
    Doc {
        usage: "man [FOLDER]",
        about: "print this manual as a page for man, or write it and that of flatland to FOLDER",
        options: &[],
        passed_to: None,
        more: "",
    },
];

/// The commands of a program: the library's, and more of its own.
#[derive(Debug)]
pub struct Table {
    /// What the program is for.
    pub head: &'static str,
    /// Its own commands, or forms of commands.
    pub own: &'static [Doc],
}

const TAIL: &str = "
Options:
  --package NAME        the package with the guests, where a workspace has several
  --offline             download nothing, as with CARGO_NET_OFFLINE=true; cargo does not hand on its own --offline
  -q, --quiet           say nothing of progress; cargo neither. Warnings and errors are said, and what the guest sends
  --color WHEN          auto (on a terminal, and not with NO_COLOR), always or never (default: what CARGO_TERM_COLOR
                        says, or auto)
  --help, --version     `cargo flatland COMMAND --help` or `cargo flatland help COMMAND` says more of a command

Exit status: that of the guest for run, gdb and flatland, or 125 where they cannot begin; 0 or 1 for the others, and 101
where tests fail in the guest. A wrong command line is 2, such as a program that is not there.
";

impl Doc {
    /// Its name.
    pub fn name(&self) -> &'static str {
        self.usage.split(' ').next().unwrap_or_default()
    }

    /// The names of its own options.
    pub fn option_names(&self) -> impl Iterator<Item = &'static str> {
        self.options.iter().filter_map(|(option, _)| option.split([' ', '[']).next())
    }

    /// Whether it is about the guest's tests.
    pub fn is_of_guests_tests(&self) -> bool {
        std::ptr::eq(self.options, GUEST_TESTS)
    }

    /// How it is called, without `cargo flatland`.
    pub fn usage(&self) -> String {
        match self.usage.strip_prefix("test ") {
            Some(rest) if self.is_of_guests_tests() => format!("{} {rest}", caller::test_command()),
            _ => self.usage.into(),
        }
    }

    fn help(&self) -> String {
        let mut text = format!("{}\n\nUsage: {} {}\n", self.about, caller::cargo(), self.usage());
        for (index, (option, what)) in self.options.iter().enumerate() {
            let head = if index == 0 { "\nOptions:\n" } else { "" };
            text += &format!("{head}  {option:20}  {what}\n");
        }
        if !self.more.is_empty() {
            text += &format!("\n{}", caller::named(self.more));
        }
        text
    }
}

impl Table {
    /// All commands.
    pub fn docs(&self) -> impl Iterator<Item = &'static Doc> + use<> {
        COMMANDS.iter().chain(self.own)
    }

    /// All forms of a command.
    pub fn forms(&self, name: &str) -> impl Iterator<Item = &'static Doc> {
        self.docs().filter(move |doc| doc.name() == name)
    }

    /// The list of all commands.
    pub fn overview(&self) -> String {
        let row = |doc: &'static Doc| {
            let (usage, about) = (doc.usage(), doc.about);
            match usage.len() {
                0..22 => format!("  {usage:22}{about}\n"),
                _ => format!("  {usage}\n{:24}{about}\n", ""),
            }
        };
        let rows: String = self.docs().map(row).collect();
        let (head, cargo) = (self.head, caller::cargo());
        format!("{head}\n\nUsage: {cargo} [OPTIONS] COMMAND\n\nCommands:\n{rows}{}", caller::named(TAIL))
    }

    /// The help of a command, in all of its forms.
    pub fn help(&self, name: &str) -> Option<String> {
        let texts: Vec<_> = self.forms(name).map(Doc::help).collect();
        (!texts.is_empty()).then(|| texts.join("\n"))
    }
}
