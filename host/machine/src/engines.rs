//! The engines of a machine: the one that runs it, and the one that it may move to. They share RAM.

use std::fmt;
use std::sync::OnceLock;

use flatland_contract::memory::PAGE_SIZE;
use flatland_soft::SoftEngine;
use flatland_x86::{Engine, MemoryMap, MemorySize, Registers, Speed};

#[cfg(all(feature = "kvm", target_os = "linux", target_arch = "x86_64"))]
use flatland_kvm::{GuestRam, KvmEngine};

use crate::ChoiceError;
use crate::policy::Speeds;
use crate::time::Instant;

type AnyEngine = Box<dyn Engine + Send>;

/// One of the two engines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineKind {
    /// KVM.
    Kvm,
    /// The interpreter, [`SoftEngine`].
    Soft,
}

impl EngineKind {
    /// The engine's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Soft => "soft",
        }
    }

    /// The other one.
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Kvm => Self::Soft,
            Self::Soft => Self::Kvm,
        }
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The engines of one machine: [`EngineChoice::open`](crate::EngineChoice::open) makes them. An engine of the caller's own is made into this with
/// `from`; its run cannot move.
#[derive(Debug)]
pub struct Engines {
    pub(crate) current: AnyEngine,
    kind: Option<EngineKind>,
    parked: Option<AnyEngine>,
    /// RAM, if both engines can use it.
    #[cfg(all(feature = "kvm", target_os = "linux", target_arch = "x86_64"))]
    ram: Option<GuestRam>,
    /// Whether the run moves by itself.
    is_automatic: bool,
    /// Why [`EngineChoice::Auto`](crate::EngineChoice::Auto) did not take KVM, if it did not.
    fell_back: Option<ChoiceError>,
}

impl From<AnyEngine> for Engines {
    fn from(current: AnyEngine) -> Self {
        Self {
            current,
            kind: None,
            parked: None,
            #[cfg(all(feature = "kvm", target_os = "linux", target_arch = "x86_64"))]
            ram: None,
            is_automatic: false,
            fell_back: None,
        }
    }
}

impl<E: Engine + Send + 'static> From<Box<E>> for Engines {
    fn from(engine: Box<E>) -> Self {
        let engine: AnyEngine = engine;
        engine.into()
    }
}

impl Engines {
    /// The engine that runs the machine now.
    pub fn engine(&mut self) -> &mut (dyn Engine + Send) {
        &mut *self.current
    }

    /// Why [`EngineChoice::Auto`](crate::EngineChoice::Auto) did not take KVM, if it did not.
    pub fn fell_back(&self) -> Option<&ChoiceError> {
        self.fell_back.as_ref()
    }

    /// The run moves by itself.
    pub(crate) fn automatic(self) -> Self {
        Self { is_automatic: true, ..self }
    }

    /// KVM could not be taken.
    pub(crate) fn instead(self, why: ChoiceError) -> Self {
        Self { fell_back: Some(why), ..self }
    }

    /// Which engine the current one is; `None` if it is the caller's own.
    pub(crate) fn kind(&self) -> Option<EngineKind> {
        self.kind
    }

    /// Whether the run moves by itself.
    pub(crate) fn is_automatic(&self) -> bool {
        self.is_automatic
    }

    /// The engine that is not the current one. Makes it if there is none yet.
    pub(crate) fn parked(&mut self) -> Result<&mut (dyn Engine + Send), ChoiceError> {
        if self.parked.is_none() {
            let made = self.make_other()?;
            self.parked = Some(made);
        }
        Ok(&mut **self.parked.as_mut().expect("it was just made"))
    }

    /// Makes the parked engine the current one.
    pub(crate) fn swap(&mut self) {
        if let (Some(parked), Some(kind)) = (&mut self.parked, &mut self.kind) {
            std::mem::swap(&mut self.current, parked);
            *kind = kind.other();
        }
    }

    /// The speeds of the engines, if they have been measured.
    pub(crate) fn speeds(&self) -> Option<Speeds> {
        SPEEDS.get().copied()
    }

    /// Measures the speeds of the engines. It is done once in a process. `None` if KVM cannot be measured.
    pub(crate) fn measure(&mut self) -> Option<Speeds> {
        if let Some(speeds) = self.speeds() {
            return Some(speeds);
        }
        let measured = match self.kind? {
            EngineKind::Kvm => self.current.measure(),
            EngineKind::Soft => self.parked().ok()?.measure(),
        };
        let speeds = Speeds { kvm: measured?, soft_instruction: time_soft_instruction()? };
        Some(*SPEEDS.get_or_init(|| speeds))
    }
}

/// The same for all machines of a process.
static SPEEDS: OnceLock<Speeds> = OnceLock::new();

/// Times the soft engine's instructions, in seconds for one.
fn time_soft_instruction() -> Option<f64> {
    const ITERATIONS: u32 = 10_000;
    const ROUNDS: u32 = 3;
    let mut engine = SoftEngine::new(MemorySize::from_bytes(PAGE_SIZE.into()).ok()?);
    engine.write_ram(0, &Speed::LOOP);
    let mut least = f64::INFINITY;
    for _ in 0..ROUNDS {
        engine.set_registers(&Registers { ecx: ITERATIONS, ..Registers::default() }).ok()?;
        let before = engine.instructions()?;
        let start = Instant::now();
        engine.run().ok()?;
        least = least.min(start.elapsed().as_secs_f64() / (engine.instructions()? - before) as f64);
    }
    Some(least)
}

#[cfg(all(feature = "kvm", target_os = "linux", target_arch = "x86_64"))]
impl Engines {
    /// An engine in the state at entry, with zeroed RAM.
    pub(crate) fn first(kind: EngineKind, map: MemoryMap) -> Result<Self, ChoiceError> {
        let ram = GuestRam::new(map.ram()).map_err(ChoiceError::Kvm)?;
        // SAFETY: there is no other engine with this RAM. See `make_other` for the second one.
        let current = unsafe { make(kind, map, &ram) }?;
        Ok(Self { kind: Some(kind), ram: Some(ram), ..Self::from(current) })
    }

    /// The numbers of the pages of RAM that may have another byte than 0. `None` if that is not known.
    pub(crate) fn touched_pages(&self) -> Option<Vec<u32>> {
        self.ram.as_ref()?.touched_pages()
    }

    fn make_other(&self) -> Result<AnyEngine, ChoiceError> {
        let (Some(ram), Some(kind)) = (&self.ram, self.kind) else { return Err(ChoiceError::CannotMove) };
        let map = self.current.memory_map().clone();
        // SAFETY: the machine runs `current` only. The other engine only takes over its state, and runs after the two
        // have been swapped.
        unsafe { make(kind.other(), map, ram) }
    }
}

/// An engine in the state at entry.
///
/// # Safety
///
/// Of all engines with this RAM, only one is used at a time.
#[cfg(all(feature = "kvm", target_os = "linux", target_arch = "x86_64"))]
unsafe fn make(kind: EngineKind, map: MemoryMap, ram: &GuestRam) -> Result<AnyEngine, ChoiceError> {
    Ok(match kind {
        EngineKind::Kvm => {
            // SAFETY: the caller's promise.
            let engine = unsafe { KvmEngine::with_ram(map, ram.clone()) };
            Box::new(engine.map_err(ChoiceError::Kvm)?)
        }
        // SAFETY: the caller's promise.
        EngineKind::Soft => Box::new(SoftEngine::with_ram(map, unsafe { ram.share() })),
    })
}

#[cfg(not(all(feature = "kvm", target_os = "linux", target_arch = "x86_64")))]
impl Engines {
    /// An engine in the state at entry, with zeroed RAM.
    pub(crate) fn first(kind: EngineKind, map: MemoryMap) -> Result<Self, ChoiceError> {
        match kind {
            EngineKind::Kvm => Err(ChoiceError::NoKvm),
            EngineKind::Soft => {
                let current: AnyEngine = Box::new(SoftEngine::new(map));
                Ok(Self { kind: Some(kind), ..Self::from(current) })
            }
        }
    }

    pub(crate) fn touched_pages(&self) -> Option<Vec<u32>> {
        None
    }

    fn make_other(&self) -> Result<AnyEngine, ChoiceError> {
        Err(ChoiceError::NoKvm)
    }
}
