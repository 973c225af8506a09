//! What editors do with gdb, as docs/debugging.md configures them.

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

use super::{line, lock, page, root};

/// All values of this name in the JSON of docs/debugging.md.
fn documented(name: &str) -> Vec<String> {
    let text = page();
    let begin = format!("\"{name}\": \"");
    let values = text.split(&*begin).skip(1).filter_map(|rest| rest.split_once('"'));
    values.map(|(value, _)| value.replace("${workspaceFolder}", &root().display().to_string())).collect()
}

/// Does with gdb what Native Debug does for its buttons *Step Back* and *Reverse*.
#[test]
fn the_documented_buttons_to_go_back() {
    let _lock = lock();
    let [executable] = &documented("executable")[..] else { panic!("there is one configuration") };
    assert_eq!(documented("target"), ["127.0.0.1:1234"]);
    let text = page();
    let (_, autorun) = text.split_once("\"autorun\": [").expect("it runs commands");
    let autorun =
        autorun.split_once(']').expect("the list ends").0.split(", ").map(|word| word.trim_matches('"'));
    let (mut machine, address) = machine_that_waits();
    let mut gdb = Mi::start(&[executable]);
    gdb.send("gdb-set target-async on");
    gdb.send(&format!("target-select remote {address}"));
    gdb.stopped_in("_start");
    autorun.for_each(|command| gdb.send(&format!("interpreter-exec console \"{command}\"")));
    gdb.stopped_in("answer::main");
    gdb.send(&format!("break-insert -f answer.rs:{}", line_of_answer()));
    machine.stdin.as_mut().expect("it is piped").write_all(b"HA").expect("it is read");
    gdb.send("exec-continue");
    gdb.stopped_at(line_of_answer());
    gdb.send("exec-continue");
    gdb.stopped_at(line_of_answer());
    gdb.send("exec-continue --reverse");
    gdb.stopped_at(line_of_answer());
    // By a line, and into what was called there.
    gdb.send("exec-step --reverse");
    gdb.stopped("::wrapping_add\"");
    gdb.end();
    assert_eq!(machine.wait().expect("it ends").code(), Some(137));
}

/// Does with gdb what VS Code's debug adapter does with the documented files.
#[test]
fn the_documented_launch_json() {
    let _lock = lock();
    let [program] = &documented("program")[..] else { panic!("there is one configuration") };
    assert_eq!(documented("miDebuggerServerAddress"), ["127.0.0.1:1234"]);
    let (mut machine, address) = machine_that_waits();
    let mut gdb = Mi::start(&[]);
    gdb.send("gdb-set breakpoint pending on");
    gdb.send(&format!("file-exec-and-symbols {program}"));
    gdb.send(&format!("target-select remote {address}"));
    documented("text").iter().for_each(|text| gdb.send(&format!("interpreter-exec console \"{text}\"")));
    gdb.send(&format!("break-insert -f answer.rs:{}", line_of_answer()));
    gdb.send("exec-continue");
    gdb.stopped_in("_start");
    gdb.stopped_in("answer::main");
    machine.stdin.as_mut().expect("it is piped").write_all(b"H").expect("it is read");
    gdb.send("exec-continue");
    gdb.stopped_in("answer::main");
    gdb.end();
    assert_eq!(machine.wait().expect("it ends").code(), Some(137));
}

/// The documented task, on the soft engine, and the address where it waits for gdb.
pub fn machine_that_waits() -> (Child, String) {
    let [command] = &documented("command")[..] else { panic!("there is one task") };
    // Other tests on this machine may use port 1234, so use a free one.
    let task = format!("exec {} --engine soft", command.replace("--gdb", "--gdb=0"));
    let task = task.replace("cargo xtask", env!("CARGO_BIN_EXE_xtask"));
    let mut machine = Command::new("bash");
    machine
        .args(["-c", &task])
        .current_dir(root())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut machine = machine.spawn().expect("bash starts");
    let ready = documented("endsPattern").remove(0);
    let mut told = BufReader::new(machine.stderr.take().expect("it is piped")).lines();
    let line =
        told.find_map(|line| line.ok().filter(|line| line.contains(&ready))).expect("it waits for gdb");
    let address = line.rsplit(' ').next().expect("it has words").trim_end_matches('`').to_owned();
    (machine, address)
}

/// gdb as editors use it: by its machine interface.
struct Mi {
    gdb: Child,
    output: Lines<BufReader<ChildStdout>>,
}

impl Mi {
    fn start(arguments: &[&String]) -> Self {
        let mut gdb = Command::new("timeout");
        gdb.args(["20", "gdb", "-nx", "-quiet", "-interpreter=mi"]).args(arguments);
        let gdb = gdb.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut gdb = gdb.expect("timeout (coreutils) starts");
        let output = BufReader::new(gdb.stdout.take().expect("it is piped")).lines();
        Self { gdb, output }
    }

    fn send(&mut self, command: &str) {
        let input = self.gdb.stdin.as_mut().expect("it is piped");
        writeln!(input, "-{command}").expect("gdb reads");
    }

    /// Waits for a stop, and checks where it is.
    #[track_caller]
    fn stopped(&mut self, place: &str) {
        let stop = self.output.find_map(|line| line.ok().filter(|line| line.starts_with("*stopped")));
        let stop = stop.expect("these tests need gdb: install it with `apt install gdb`");
        assert!(stop.contains(place), "{place}: {stop}");
    }

    #[track_caller]
    fn stopped_in(&mut self, function: &str) {
        self.stopped(&format!("func=\"{function}\""));
    }

    #[track_caller]
    fn stopped_at(&mut self, line: usize) {
        self.stopped(&format!("line=\"{line}\""));
    }

    fn end(mut self) {
        self.send("interpreter-exec console \"kill\"");
        self.send("gdb-exit");
        assert!(self.gdb.wait().expect("it ends").success());
    }
}

fn line_of_answer() -> usize {
    line("answer", "wrapping_add")
}
