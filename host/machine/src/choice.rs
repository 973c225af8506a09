//! The choice of an engine.

use std::error::Error;
use std::fmt;
use std::str::FromStr;

use flatland_soft::SoftEngine;
use flatland_x86::{Engine, MemoryMap, Stops, Unsupported};

#[cfg(all(feature = "kvm", target_os = "linux", target_arch = "x86_64"))]
use flatland_kvm::{KvmEngine, KvmError};

/// Which engine to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum EngineChoice {
    /// KVM if it can be used and supports what is requested, `soft` otherwise.
    #[default]
    Auto,
    /// KVM, or an error.
    Kvm,
    /// The interpreter, [`SoftEngine`].
    Soft,
}

impl FromStr for EngineChoice {
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
        }
    }
}

impl Error for ChoiceError {}

impl From<Unsupported> for ChoiceError {
    fn from(error: Unsupported) -> Self {
        Self::Unsupported(error)
    }
}

type AnyEngine = Box<dyn Engine + Send>;

impl EngineChoice {
    /// Opens an engine with zeroed RAM, in the contract's entry state, with these stops. Also returns why the engine
    /// is not KVM, if [`Self::Auto`] fell back to the soft engine.
    pub fn open(
        self,
        memory: impl Into<MemoryMap>,
        stops: &Stops,
    ) -> Result<(AnyEngine, Option<ChoiceError>), ChoiceError> {
        let memory = memory.into();
        let fell_back = match self {
            Self::Soft => None,
            Self::Kvm => return Ok((open_kvm(memory, stops)?, None)),
            Self::Auto => match open_kvm(memory.clone(), stops) {
                Ok(engine) => return Ok((engine, None)),
                Err(why) => Some(why),
            },
        };
        let mut engine = SoftEngine::new(memory);
        engine.set_stops(stops)?;
        Ok((Box::new(engine), fell_back))
    }
}

#[cfg(all(feature = "kvm", target_os = "linux", target_arch = "x86_64"))]
fn open_kvm(memory: MemoryMap, stops: &Stops) -> Result<AnyEngine, ChoiceError> {
    let mut engine = KvmEngine::new(memory).map_err(ChoiceError::Kvm)?;
    if *stops != Stops::default() {
        engine.set_stops(stops)?;
    }
    Ok(Box::new(engine))
}

#[cfg(not(all(feature = "kvm", target_os = "linux", target_arch = "x86_64")))]
fn open_kvm(_: MemoryMap, _: &Stops) -> Result<AnyEngine, ChoiceError> {
    Err(ChoiceError::NoKvm)
}
