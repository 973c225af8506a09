//! The choice of an engine.

use std::error::Error;
use std::fmt;
use std::str::FromStr;

use flatland_x86::{MemoryMap, Stops, Unsupported};

#[cfg(all(feature = "kvm", target_os = "linux", target_arch = "x86_64"))]
use flatland_kvm::KvmError;

use crate::{EngineKind, Engines};

/// Which engine to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum EngineChoice {
    /// Both: the run begins on KVM if it can be used and supports what is requested, and moves to where it is faster.
    #[default]
    Auto,
    /// KVM to the end, or an error.
    Kvm,
    /// The interpreter to the end.
    Soft,
}

impl FromStr for EngineChoice {
    type Err = UnknownEngine;

    fn from_str(name: &str) -> Result<Self, UnknownEngine> {
        let all = [Self::Auto, Self::Kvm, Self::Soft];
        all.into_iter().find(|choice| choice.name() == name).ok_or(UnknownEngine)
    }
}

/// No engine has this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownEngine;

impl fmt::Display for UnknownEngine {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("not an engine: choose auto, kvm or soft")
    }
}

impl Error for UnknownEngine {}

/// Why an engine cannot be used.
#[derive(Debug)]
#[non_exhaustive]
pub enum ChoiceError {
    /// KVM cannot be used.
    #[cfg(all(feature = "kvm", target_os = "linux", target_arch = "x86_64"))]
    Kvm(KvmError),
    /// This program was built without KVM.
    NoKvm,
    /// The engine does not support what is requested.
    Unsupported(Unsupported),
    /// The machine has an engine of the caller's own.
    CannotMove,
}

impl fmt::Display for ChoiceError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            #[cfg(all(feature = "kvm", target_os = "linux", target_arch = "x86_64"))]
            Self::Kvm(error) => error.fmt(f),
            Self::NoKvm => f.write_str(
                "this program was built without KVM: choose the soft engine, or build it for Linux on x86-64",
            ),
            Self::Unsupported(error) => error.fmt(f),
            Self::CannotMove => f.write_str(
                "the machine has an engine of its own: make it by `Machine::builder`, so that it has two to move between",
            ),
        }
    }
}

impl Error for ChoiceError {}

impl From<Unsupported> for ChoiceError {
    fn from(error: Unsupported) -> Self {
        Self::Unsupported(error)
    }
}

impl EngineChoice {
    /// Its name on a command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Kvm => EngineKind::Kvm.name(),
            Self::Soft => EngineKind::Soft.name(),
        }
    }

    /// Opens an engine with zeroed RAM, in the contract's entry state, with these stops. [`Self::Auto`] takes KVM, or
    /// else says why not ([`Engines::fell_back`]).
    pub fn open(self, memory: impl Into<MemoryMap>, stops: &Stops) -> Result<Engines, ChoiceError> {
        let memory = memory.into();
        match self {
            Self::Soft => first(EngineKind::Soft, memory, stops),
            Self::Kvm => first(EngineKind::Kvm, memory, stops),
            Self::Auto => match first(EngineKind::Kvm, memory.clone(), stops) {
                Ok(engines) => Ok(engines.automatic()),
                Err(why) => Ok(first(EngineKind::Soft, memory, stops)?.instead(why)),
            },
        }
    }

    /// The same for a machine that is put back to snapshots again and again: [`Self::Auto`] begins with the soft
    /// engine, and makes the other one when a run computes for long.
    pub fn open_for_many_runs(
        self,
        memory: impl Into<MemoryMap>,
        stops: &Stops,
    ) -> Result<Engines, ChoiceError> {
        match self {
            Self::Auto => Ok(first(EngineKind::Soft, memory.into(), stops)?.automatic()),
            choice => choice.open(memory, stops),
        }
    }
}

fn first(kind: EngineKind, memory: MemoryMap, stops: &Stops) -> Result<Engines, ChoiceError> {
    let mut engines = Engines::first(kind, memory)?;
    if *stops != Stops::default() {
        engines.current.set_stops(stops)?;
    }
    Ok(engines)
}
