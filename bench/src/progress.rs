//! What a person sees while they wait: on a terminal a line that changes, elsewhere a line for each thing that is
//! measured.

use std::io::{self, IsTerminal, Write};

pub struct Progress {
    terminal: bool,
    steps: usize,
    step: usize,
}

impl Progress {
    pub fn new(steps: usize) -> Self {
        Self { terminal: io::stderr().is_terminal(), steps, step: 0 }
    }

    /// The next thing begins.
    pub fn next(&mut self, what: &str) {
        self.step += 1;
        self.say(&format!("[{}/{}] {what}", self.step, self.steps), !self.terminal);
    }

    /// It goes on.
    pub fn round(&self, what: &str, round: usize, rounds: usize) {
        if self.terminal {
            self.say(&format!("[{}/{}] {what}: {round} of {rounds}", self.step, self.steps), false);
        }
    }

    /// Everything is measured: the line goes.
    pub fn end(&self) {
        if self.terminal {
            self.say("", false);
        }
    }

    fn say(&self, text: &str, line: bool) {
        let text = if line { format!("bench: {text}\n") } else { format!("\r\x1b[K{text}") };
        // Nobody has to read it.
        let _ = io::stderr().write_all(text.as_bytes());
    }
}
