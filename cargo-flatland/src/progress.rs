//! What a terminal sees of a command that takes long: a line that is written over. Files and pipes do not get it.

use std::env;
use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::settings;

/// To the first column, and erase the line (ECMA-48, EL).
const ERASE: &str = "\r\x1b[K";

/// Whether there is a line now. Several builds at once share it.
static IS_SHOWN: Mutex<bool> = Mutex::new(false);

/// Whether standard error is a terminal, and nothing says that it is to show no progress.
pub fn is_on() -> bool {
    let never = env::var_os("CARGO_TERM_PROGRESS_WHEN").is_some_and(|when| when == "never");
    let is_dumb = env::var_os("TERM").is_none_or(|terminal| terminal == "dumb");
    // As cargo does it: many services that build have a terminal, and keep all that is written over.
    let is_service = env::var_os("CI").is_some();
    io::stderr().is_terminal() && !settings::is_quiet() && !never && !is_dumb && !is_service
}

/// How many columns a line may have. The variable is there where a shell exports it.
pub fn columns() -> usize {
    env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).unwrap_or(80)
}

fn erase() -> MutexGuard<'static, bool> {
    let mut is_shown = IS_SHOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if *is_shown {
        // A closed terminal shows nothing.
        let _ = io::stderr().write_all(ERASE.as_bytes());
        *is_shown = false;
    }
    is_shown
}

/// Shows this in place of the line before.
pub fn show(line: &str) {
    let mut is_shown = erase();
    *is_shown = io::stderr().write_all(line.as_bytes()).is_ok();
}

/// Removes the line.
pub fn clear() {
    drop(erase());
}

/// Writes lines that stay.
pub fn write(lines: &[u8]) {
    let _is_shown = erase();
    // What is done goes on even if standard error is closed.
    let _ = io::stderr().write_all(lines);
}

/// Does something, and after a second shows what it is and how long it takes.
pub fn while_it_takes<T>(what: impl Fn() -> String + Sync, run: impl FnOnce() -> T) -> T {
    if !is_on() {
        return run();
    }
    let begun = Instant::now();
    let (running, is_over) = channel::<()>();
    thread::scope(|scope| {
        scope.spawn(|| {
            let is_over = is_over;
            let mut pause = Duration::from_secs(1);
            while is_over.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                show(&format!("    {} ({} s)", what(), begun.elapsed().as_secs()));
                pause = Duration::from_millis(200);
            }
            clear();
        });
        let result = run();
        drop(running);
        result
    })
}
