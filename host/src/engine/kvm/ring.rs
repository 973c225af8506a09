//! Output without exits: what the guest sends to some ports KVM collects in a ring, in the order in which it was sent, and
//! goes on running the guest (KVM API 4.116, KVM_REGISTER_COALESCED_MMIO).
//!
//! Whoever waits for something else, or for too long, must look here first: a [kick](crate::kick) brings KVM back.

use flatland_contract::Port;
use kvm_ioctls::{Cap, IoEventAddress, Kvm, VcpuFd, VmFd};

use super::{EngineError, KvmError};

/// The ports that take output and answer nothing.
const PORTS: [Port; 2] = [Port::Console, Port::Diagnostics];

/// What was taken out of the ring, and handed over piece by piece.
#[derive(Debug, Default)]
pub struct Ring {
    is_mapped: bool,
    enabled: bool,
    bytes: Vec<u8>,
    /// The byte that ended the last piece, because it went elsewhere.
    next: Option<(u16, u8)>,
}

impl Ring {
    /// Has KVM collect output, if it can.
    pub fn new(kvm: &Kvm, vm: &VmFd, vcpu: &mut VcpuFd) -> Result<Self, KvmError> {
        if !kvm.check_extension(Cap::CoalescedPio) {
            return Ok(Self::default());
        }
        vcpu.map_coalesced_mmio_ring().map_err(KvmError::call("mmap of the ring"))?;
        for port in PORTS {
            // A zone for each: one of two bytes would take a transfer of that width, too.
            vm.register_coalesced_mmio(address(port), 1)
                .map_err(KvmError::call("KVM_REGISTER_COALESCED_MMIO"))?;
        }
        Ok(Self { is_mapped: true, enabled: true, ..Self::default() })
    }

    /// Whether there may be output here that nobody has been told of.
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// From now on each transfer is an exit of its own. What was collected is still here.
    pub fn disable(&mut self, vm: &VmFd) {
        if std::mem::take(&mut self.enabled) {
            for port in PORTS {
                // It was registered, so this cannot fail.
                let _ = vm.unregister_coalesced_mmio(address(port), 1);
            }
        }
    }

    /// Takes the next bytes that went to one port, for [`Self::bytes`], and returns that port.
    pub fn take(&mut self, vcpu: &mut VcpuFd) -> Result<Option<u16>, EngineError> {
        if !self.is_mapped {
            return Ok(None);
        }
        let mut read = || {
            let entry = vcpu
                .coalesced_mmio_read()
                .map_err(|errno| EngineError::Call { call: "the ring's mmap", cause: errno.into() })?;
            Ok(entry.map(|entry| (entry.phys_addr as u16, entry.data[0])))
        };
        let Some((port, byte)) = self.next.take().map_or_else(&mut read, |next| Ok(Some(next)))? else {
            return Ok(None);
        };
        self.bytes.clear();
        self.bytes.push(byte);
        while let Some((other, byte)) = read()? {
            if other != port {
                self.next = Some((other, byte));
                break;
            }
            self.bytes.push(byte);
        }
        Ok(Some(port))
    }

    /// What was taken last.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

fn address(port: Port) -> IoEventAddress {
    IoEventAddress::Pio(port.number().into())
}
