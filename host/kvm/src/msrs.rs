//! Model-specific registers: which there are, their values, and what they are after a reset.

use flatland_x86::EngineError;
use kvm_bindings::{KVM_MAX_MSR_ENTRIES, Msrs, kvm_msr_entry, kvm_sregs};
use kvm_ioctls::VcpuFd;

use super::KvmEngine;

/// Model-specific registers about time, which goes on by itself: IA32_TIME_STAMP_COUNTER, IA32_TSC_ADJUST and
/// IA32_TSC_DEADLINE (SDM volume 4, table 2-2).
const TIME: [u32; 3] = [TIME_STAMP_COUNTER, 0x3b, 0x6e0];
const TIME_STAMP_COUNTER: u32 = 0x10;

/// What KVM does not list: IA32_APIC_BASE, IA32_EFER, and the MTRRs: the variable ones, the fixed ones, and
/// IA32_MTRR_DEF_TYPE (same table).
fn not_listed() -> impl Iterator<Item = u32> {
    [0x1b, 0xc000_0080]
        .into_iter()
        .chain(0x200..0x210)
        .chain([0x250, 0x258, 0x259])
        .chain(0x268..0x270)
        .chain([0x2ff])
}

/// A list of fewer is not one of all that KVM has: it is from an engine that has few.
const SOME: usize = 8;

impl KvmEngine {
    /// The time stamp counter.
    pub(super) fn time_stamp(&mut self) -> Result<u64, EngineError> {
        let mut msrs = kvm_msrs(&[(TIME_STAMP_COUNTER, 0)]);
        self.vcpu.get_msrs(&mut msrs).map_err(EngineError::call("KVM_GET_MSRS"))?;
        self.seen_time_stamp = msrs.as_slice()[0].data;
        Ok(self.seen_time_stamp)
    }

    /// Makes the time stamp counter at least this.
    pub(super) fn raise_time_stamp(&mut self, least: u64) -> Result<(), EngineError> {
        if self.seen_time_stamp < least && self.time_stamp()? < least {
            let msrs = kvm_msrs(&[(TIME_STAMP_COUNTER, least)]);
            self.vcpu.set_msrs(&msrs).map_err(EngineError::call("KVM_SET_MSRS"))?;
        }
        Ok(())
    }

    /// Sets the model-specific registers, or resets them if there are none.
    pub(super) fn set_msrs(&mut self, msrs: &[(u32, u64)]) -> Result<(), EngineError> {
        let mut all;
        let msrs = if msrs.len() < SOME {
            all = self.reset_msrs()?;
            for (index, value) in msrs {
                match all.iter_mut().find(|(known, _)| known == index) {
                    Some((_, known)) => *known = *value,
                    None => all.push((*index, *value)),
                }
            }
            &all
        } else {
            msrs
        };
        if let Some((index, _)) = msrs.get(KVM_MAX_MSR_ENTRIES) {
            return Err(EngineError::RegisterRefused { index: *index });
        }
        self.may_have_set_msrs = true;
        let set = self.vcpu.set_msrs(&kvm_msrs(msrs)).map_err(EngineError::call("KVM_SET_MSRS"))?;
        match msrs.get(set) {
            Some((index, _)) => Err(EngineError::RegisterRefused { index: *index }),
            None => Ok(()),
        }
    }

    /// The model-specific registers that a guest may have written.
    pub(super) fn msrs(&mut self) -> Result<Vec<(u32, u64)>, EngineError> {
        if self.reset.msr_numbers.is_empty() {
            let listed =
                self.kvm.get_msr_index_list().map_err(EngineError::call("KVM_GET_MSR_INDEX_LIST"))?;
            let listed = listed.as_slice().iter().copied().filter(|index| !TIME.contains(index));
            self.reset.msr_numbers = usable_msrs(&self.vcpu, listed.chain(not_listed()).collect())?;
        }
        let mut msrs = kvm_msrs(&self.reset.msr_numbers.iter().map(|index| (*index, 0)).collect::<Vec<_>>());
        let read = self.vcpu.get_msrs(&mut msrs).map_err(EngineError::call("KVM_GET_MSRS"))?;
        Ok(msrs.as_slice()[..read].iter().map(|entry| (entry.index, entry.data)).collect())
    }

    /// These registers as after a reset. If this vCPU's may have been set, they are those of another one.
    pub(super) fn reset_msrs(&mut self) -> Result<Vec<(u32, u64)>, EngineError> {
        if self.reset.msrs.is_empty() {
            let numbers = self.msrs()?;
            self.reset.msrs = if self.may_have_set_msrs {
                let vm = self.kvm.create_vm().map_err(EngineError::call("KVM_CREATE_VM"))?;
                let vcpu = vm.create_vcpu(0).map_err(EngineError::call("KVM_CREATE_VCPU"))?;
                let mut msrs = kvm_msrs(&numbers);
                vcpu.get_msrs(&mut msrs).map_err(EngineError::call("KVM_GET_MSRS"))?;
                msrs.as_slice().iter().map(|entry| (entry.index, entry.data)).collect()
            } else {
                numbers
            };
        }
        Ok(self.reset.msrs.clone())
    }
}

/// What a vCPU has after its reset.
#[derive(Debug)]
pub struct Reset {
    /// The registers, of which the guest uses a part.
    pub sregs: kvm_sregs,
    /// The model-specific registers that can be read and set. Empty until they are needed.
    msr_numbers: Vec<u32>,
    /// Their values. Empty until they are needed.
    msrs: Vec<(u32, u64)>,
}

impl Reset {
    /// The local APIC is turned off: KVM tells of one that is on in `cpuid`, and no guest can reach it.
    pub fn new(sregs: kvm_sregs) -> Self {
        const APIC_IS_ON: u64 = 1 << 11;
        let sregs = kvm_sregs { apic_base: sregs.apic_base & !APIC_IS_ON, ..sregs };
        Self { sregs, msr_numbers: Vec::new(), msrs: Vec::new() }
    }
}

/// Those of these model-specific registers that can be read and set. KVM stops at the first one that cannot (KVM API
/// 4.18 and 4.19).
fn usable_msrs(vcpu: &VcpuFd, numbers: Vec<u32>) -> Result<Vec<u32>, EngineError> {
    let mut entries: Vec<_> = numbers.into_iter().map(|index| (index, 0)).collect();
    let get = |msrs: &mut Msrs| vcpu.get_msrs(msrs).map_err(EngineError::call("KVM_GET_MSRS"));
    let set = |msrs: &mut Msrs| vcpu.set_msrs(msrs).map_err(EngineError::call("KVM_SET_MSRS"));
    for call in [&get as &dyn Fn(&mut Msrs) -> Result<usize, EngineError>, &set] {
        let mut done = 0;
        while done < entries.len() {
            let mut rest = kvm_msrs(&entries[done..]);
            let count = call(&mut rest)?;
            for (entry, read) in entries[done..done + count].iter_mut().zip(rest.as_slice()) {
                *entry = (read.index, read.data);
            }
            done += count;
            if done < entries.len() {
                entries.remove(done);
            }
        }
    }
    Ok(entries.into_iter().map(|(index, _)| index).collect())
}

fn kvm_msrs(msrs: &[(u32, u64)]) -> Msrs {
    let entry =
        |(index, data): &(u32, u64)| kvm_msr_entry { index: *index, data: *data, ..Default::default() };
    let entries: Vec<_> = msrs.iter().map(entry).collect();
    Msrs::from_entries(&entries).expect("they are fewer than KVM takes")
}

#[cfg(test)]
mod tests {
    use flatland_x86::{Engine, Exit, Location, MemorySize, Position, Processor};

    use super::*;

    /// This test needs KVM.
    #[test]
    fn a_register_that_kvm_does_not_take_is_told_of() {
        if std::env::var_os("FLATLAND_TEST_WITHOUT_KVM").is_some() {
            return;
        }
        let mut engine = KvmEngine::new(MemorySize::default()).expect("this test needs /dev/kvm");
        let (mut state, position) = engine.processor().unwrap();
        let message = "KVM does not take model-specific register 0xdeadbeef of this state: make a new machine, and a new \
                       snapshot in it";
        let msrs = state.msrs.clone();
        state.msrs.last_mut().expect("there are some").0 = 0xdead_beef;
        assert_eq!(engine.set_processor(&state, position).unwrap_err().to_string(), message);
        // More than KVM takes at once.
        state.msrs = msrs.into_iter().cycle().take(KVM_MAX_MSR_ENTRIES).chain([(0xdead_beef, 0)]).collect();
        assert_eq!(engine.set_processor(&state, position).unwrap_err().to_string(), message);
        // Paging without protected mode.
        (state.msrs, state.cr0) = (Vec::new(), 0x8000_0010);
        assert_eq!(
            engine.set_processor(&state, position).unwrap_err().to_string(),
            "the processor does not take this state (KVM_SET_SREGS: Invalid argument (os error 22)): make a \
             new snapshot on a machine like this one"
        );
    }

    /// This test needs KVM.
    #[test]
    fn a_state_without_model_specific_registers_resets_them() {
        if std::env::var_os("FLATLAND_TEST_WITHOUT_KVM").is_some() {
            return;
        }
        const SYSENTER_CS: u32 = 0x174;
        let mut engine = KvmEngine::new(MemorySize::default()).expect("this test needs /dev/kvm");
        // mov ecx, SYSENTER_CS; mov eax, 8; xor edx, edx; wrmsr; hlt
        engine.write_ram(0, &[0xb9, 0x74, 1, 0, 0, 0xb8, 8, 0, 0, 0, 0x31, 0xd2, 0x0f, 0x30, 0xf4]);
        assert!(matches!(engine.run().unwrap(), Exit::Halt));
        let value = |engine: &mut KvmEngine| {
            let (state, _) = engine.processor().unwrap();
            state.msrs.into_iter().find(|(number, _)| *number == SYSENTER_CS).expect("KVM has it").1
        };
        assert_eq!(value(&mut engine), 8);
        let state = Processor::at_entry(MemorySize::default());
        let position = Position { location: Location::At(0), was_reported: false };
        engine.set_processor(&state, position).unwrap();
        assert_eq!(value(&mut engine), 0);
    }
}
