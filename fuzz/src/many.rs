//! Several jobs on this machine, and brokers on many: LibAFL's own way to share inputs (LLMP).
//!
//! This process is the broker, which hands each new input on. Each job is a process of its own.

use std::env;
use std::net::{Ipv4Addr, TcpListener};
use std::num::NonZero;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::{io, thread};

use libafl::events::{EventConfig, LlmpEventManagerBuilder, SendExiting, ShouldSaveState, StdLlmpEventHook};
use libafl::inputs::BytesInput;
use libafl_bolts::llmp::{Broker, LlmpBroker};
use libafl_bolts::shmem::{ShMemProvider, StdShMemProvider};
use libafl_bolts::tuples::tuple_list;

use crate::Result;
use crate::fuzzing::{Campaign, IS_STOPPED, stop_at_interrupt};
use crate::screen::{Screen, Summary};
use crate::state::State;

/// For this program itself: `--client=PORT:NUMBER`, a job of the broker at this port.
pub const CLIENT: &str = "--client";

/// How many jobs, and with whom they share what is new.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jobs {
    pub count: NonZero<usize>,
    /// The port of this broker. If there is none, one that is free.
    pub listen: Option<u16>,
    /// Another broker, `HOST:PORT`.
    pub connect: Option<String>,
}

/// Runs jobs with these arguments of this program until all have ended.
pub fn run(jobs: &Jobs, campaign: &Campaign) -> Result<Summary> {
    let port = match jobs.listen {
        Some(port) => port,
        None => free_port()?,
    };
    let screen = Screen::new(&campaign.corpus, &campaign.findings);
    let cannot =
        |error: libafl::Error| format!("the jobs cannot be told of each other ({error}): try without --jobs");
    let hook = StdLlmpEventHook::<BytesInput, _>::new(screen.clone()).map_err(cannot)?;
    let memory = StdShMemProvider::new().map_err(cannot)?;
    let mut broker = LlmpBroker::create_attach_to_tcp(memory, tuple_list!(hook), port).map_err(|error| {
        format!("port {port} cannot be listened at ({error}): give another one with --listen")
    })?;
    stop_at_interrupt();
    let mut children = Vec::new();
    for number in 0..jobs.count.get() {
        children.push(start(port, number)?);
    }
    // LibAFL's own loop does not end while another broker is connected.
    let mut are_running = true;
    let mut connect = jobs.connect.as_deref();
    while broker.broker_once().map_err(cannot)? || are_running {
        are_running = false;
        for child in &mut children {
            if IS_STOPPED.load(Ordering::Relaxed) {
                drop(child.stdin.take());
            }
            match child.try_wait() {
                Ok(None) => are_running = true,
                Ok(Some(status)) if status.success() => {}
                Ok(Some(status)) => {
                    return Err(format!("a job has failed ({status}): its message stands above"));
                }
                Err(error) => return Err(format!("a job is lost ({error}): start again")),
            }
        }
        // Only when all jobs have numbers: LibAFL gives the next one, which is the connection's, to a job that comes later.
        if broker.num_clients_seen() - broker.nb_listeners() >= jobs.count.get()
            && let Some(address) = connect.take()
        {
            broker.inner_mut().connect_b2b(address).map_err(|error| {
                format!("there is no broker at {address} ({error}): start it with --listen PORT")
            })?;
        }
        thread::sleep(PAUSE);
    }
    Ok(screen.summary())
}

/// How long the broker waits when it has handed on all that there is.
const PAUSE: Duration = Duration::from_millis(5);

/// Starts a job of this broker.
fn start(port: u16, number: usize) -> Result<Child> {
    let cannot = |error| format!("a job cannot be started ({error}): try with fewer --jobs");
    let mut command = Command::new(env::current_exe().map_err(cannot)?);
    command.arg(format!("{CLIENT}={port}:{number}")).args(env::args_os().skip(1));
    // A job ends when this is closed: also if this process is killed.
    command.stdin(Stdio::piped()).spawn().map_err(cannot)
}

/// A port of this machine's own that nobody listens at.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let port = listener.and_then(|listener| Ok(listener.local_addr()?.port()));
    port.map_err(|error| format!("no port is free ({error}): try without --jobs"))
}

/// Is a job of the broker at this port.
pub fn run_as_client(campaign: &Campaign, port: u16) -> Result<()> {
    stop_at_interrupt();
    thread::spawn(|| {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        IS_STOPPED.store(true, Ordering::Relaxed);
    });
    let said = |error: libafl::Error| error.to_string();
    let memory = StdShMemProvider::new().map_err(|error| error.to_string())?;
    let mut manager = LlmpEventManagerBuilder::new()
        .save_state(ShouldSaveState::Never)
        .build_on_port::<BytesInput, State, _, _>(memory, port, EventConfig::AlwaysUnique)
        .map_err(said)?;
    let ended = campaign.run(&mut manager);
    manager.send_exiting().map_err(said)?;
    ended
}
