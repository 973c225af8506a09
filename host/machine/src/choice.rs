//! Which engine runs a machine.

use std::str::FromStr;

use super::soft::SoftEngine;
use super::{Engine, Stops, Unsupported};
use crate::MemoryMap;

/// Which engine somebody wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// KVM where it can be used and can do what is asked for, `soft` otherwise.
    #[default]
    Auto,
    /// KVM or nothing.
    Kvm,
    /// The interpreter.
    Soft,
}

impl FromStr for Choice {
    type Err = UnknownEngine;

    fn from_str(name: &str) -> Result<Self, UnknownEngine> {
        match name {
            "auto" => Ok(Self::Auto),
            "kvm" => Ok(Self::Kvm),
            "soft" => Ok(Self::Soft),
            _ => Err(UnknownEngine),
        }
    }
}

/// There is no such engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an engine: choose auto, kvm or soft")]
pub struct UnknownEngine;

/// Why there is no engine as it was wanted.
#[derive(Debug, thiserror::Error)]
pub enum ChoiceError {
    /// KVM cannot be used.
    #[cfg(all(feature = "kvm", target_os = "linux", target_arch = "x86_64"))]
    #[error(transparent)]
    Kvm(#[from] super::kvm::KvmError),
    /// KVM is no part of this program.
    #[cfg(not(all(feature = "kvm", target_os = "linux", target_arch = "x86_64")))]
    #[error("this program was built without KVM: choose --engine soft, or build it for Linux on x86-64")]
    NoKvm,
    /// The engine cannot do what is asked for.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
}

/// An engine, and why it is not KVM if nobody said so.
#[derive(Debug)]
pub struct Chosen<E = Box<dyn Engine>> {
    /// The engine, with the stops set.
    pub engine: E,
    /// Why [`Choice::Auto`] did not take KVM.
    pub fell_back: Option<ChoiceError>,
}

/// A machine's processor and zeroed RAM, in the contract's state at entry, that stops as it should.
pub fn open(choice: Choice, memory: impl Into<MemoryMap>, stops: &Stops) -> Result<Chosen, ChoiceError> {
    let memory = memory.into();
    let fell_back = match choice {
        Choice::Soft => None,
        Choice::Kvm => return Ok(Chosen { engine: open_kvm(memory, stops)?, fell_back: None }),
        Choice::Auto => match open_kvm(memory.clone(), stops) {
            Ok(engine) => return Ok(Chosen { engine, fell_back: None }),
            Err(why) => Some(why),
        },
    };
    let mut engine = SoftEngine::new(memory);
    engine.set_stops(stops)?;
    Ok(Chosen { engine: Box::new(engine), fell_back })
}

#[cfg(all(feature = "kvm", target_os = "linux", target_arch = "x86_64"))]
fn open_kvm(memory: MemoryMap, stops: &Stops) -> Result<Box<dyn Engine>, ChoiceError> {
    let mut engine = super::kvm::KvmEngine::new(memory)?;
    if *stops != Stops::default() {
        engine.set_stops(stops)?;
    }
    Ok(Box::new(engine))
}

#[cfg(not(all(feature = "kvm", target_os = "linux", target_arch = "x86_64")))]
fn open_kvm(_: MemoryMap, _: &Stops) -> Result<Box<dyn Engine>, ChoiceError> {
    Err(ChoiceError::NoKvm)
}
