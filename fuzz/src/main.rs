//! `flatland-fuzz`: fuzzes a guest with LibAFL, on the soft engine. `cargo xtask fuzz` builds and starts it.
//!
//! This is a crate of its own so that LibAFL is compiled only for those who fuzz.

mod compare;
mod comparisons;
mod edges;
mod executor;
mod feedback;
mod findings;
mod fuzzing;
mod kept;
mod many;
mod options;
mod scheduler;
mod screen;
mod state;
mod target;

use std::fs;
use std::process::ExitCode;

use flatland::words;
use flatland_contract::status;
use fuzzing::{Campaign, stop_at_interrupt};
use libafl::events::SimpleEventManager;
use options::{Command, Mode};
use screen::{Screen, Summary};

/// The error is a sentence that ends with what to do.
type Result<T, E = String> = std::result::Result<T, E>;

fn main() -> ExitCode {
    let command = match options::parse(std::env::args_os().skip(1)) {
        Ok(command) => command,
        Err(message) => return fail(&message, status::USAGE),
    };
    match run(&command) {
        Ok(exit) => exit,
        Err(message) => fail(&message, status::HOST),
    }
}

fn fail(message: &str, status: u8) -> ExitCode {
    eprintln!("flatland-fuzz: {message}");
    status.into()
}

fn run(command: &Command) -> Result<ExitCode> {
    let Command { campaign, mode, name } = command;
    for folder in [&campaign.corpus, &campaign.findings] {
        fs::create_dir_all(folder)
            .map_err(|error| format!("cannot make `{}` ({error}): name another folder", folder.display()))?;
    }
    match mode {
        Mode::Fuzz => {
            stop_at_interrupt();
            let screen = Screen::new(&campaign.corpus, &campaign.findings);
            campaign.run(&mut SimpleEventManager::new(screen.clone()))?;
            Ok(tell(&screen.summary(), campaign, name))
        }
        Mode::Jobs(jobs) => Ok(tell(&many::run(jobs, campaign)?, campaign, name)),
        Mode::Client(port) => many::run_as_client(campaign, *port).map(|()| ExitCode::SUCCESS),
        Mode::Regress => {
            let still = kept::regress(campaign, name)?;
            Ok(if still > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
        }
        Mode::Minimize => kept::minimize(campaign).map(|()| ExitCode::SUCCESS),
        Mode::Coverage(request) => Ok(match kept::coverage(campaign, request)? {
            None => ExitCode::SUCCESS,
            Some(message) => fail(&message, status::COVERAGE),
        }),
    }
}

/// Says what it came to, and what to do next. The status says whether something was found.
fn tell(summary: &Summary, campaign: &Campaign, name: &str) -> ExitCode {
    let Summary { runs, time, edges, corpus, findings, has_found } = summary;
    screen::say(&format!(
        "{runs} runs in {}, {} a second: {edges} edges, {corpus} inputs in {}, {findings} findings in {}",
        screen::duration(*time),
        (*runs as f64 / time.as_secs_f64().max(0.001)) as u64,
        screen::path(&campaign.corpus),
        screen::path(&campaign.findings),
    ));
    let cargo = words::cargo();
    screen::say(&format!(
        "`{cargo} fuzz {name}` goes on from there, and `{cargo} fuzz {name} --coverage` shows what the inputs execute"
    ));
    if *has_found { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
