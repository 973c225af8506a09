//! Output without exits (coalesced PIO): KVM collects bytes that the guest sends to some ports in a ring, in order,
//! and continues to run the guest (KVM API 4.116, KVM_REGISTER_COALESCED_MMIO).
//!
//! The ring is emptied after each exit, before the exit is reported. An interrupt makes an exit.

use flatland_contract::Port;
use kvm_ioctls::{Cap, IoEventAddress, VcpuFd, VmFd};

use flatland_x86::EngineError;

/// The ports whose output needs no answer.
const PORTS: [Port; 2] = [Port::Console, Port::Diagnostics];

/// Whether KVM may collect the output of this port.
pub fn collects(port: u16) -> bool {
    PORTS.into_iter().any(|known| known.number() == port)
}

/// The ring is enabled after this many output exits. A VM with a ring takes 13 ms to close (an SRCU grace period),
/// about as long as this many exits take. A guest with little output is faster without the ring.
const EXITS_UNTIL_ENABLED: u32 = 1000;

/// Reads the ring in pieces: consecutive bytes for the same port.
#[derive(Debug)]
pub struct Ring {
    state: State,
    bytes: Vec<u8>,
    /// The byte after the last piece, for another port.
    next: Option<(u16, u8)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not enabled yet; this many exits so far could have used the ring.
    Waiting(u32),
    /// KVM collects output.
    Enabled,
    /// KVM no longer collects output; the ring may still have bytes.
    Disabled,
    /// KVM does not support the ring.
    Never,
}

impl Ring {
    pub fn new() -> Self {
        Self { state: State::Waiting(0), bytes: Vec::new(), next: None }
    }

    /// Records an output exit at one of the ports, and enables the ring after enough of them.
    pub fn count_exit(&mut self, vm: &VmFd, vcpu: &mut VcpuFd) {
        if let State::Waiting(exits) = &mut self.state {
            *exits += 1;
            if *exits == EXITS_UNTIL_ENABLED {
                self.state = if enable(vm, vcpu) { State::Enabled } else { State::Never };
            }
        }
    }

    /// Whether the ring may have output that has not been reported.
    pub fn is_enabled(&self) -> bool {
        self.state == State::Enabled
    }

    /// Makes KVM stop collecting. The ring keeps its bytes.
    pub fn disable(&mut self, vm: &VmFd) {
        if self.state == State::Enabled {
            for port in PORTS {
                // Cannot fail, because the zone was registered.
                let _ = vm.unregister_coalesced_mmio(address(port), 1);
            }
            self.state = State::Disabled;
        }
    }

    /// Reads the next piece, for [`Self::bytes`], and returns its port.
    pub fn take(&mut self, vcpu: &mut VcpuFd) -> Result<Option<u16>, EngineError> {
        if !matches!(self.state, State::Enabled | State::Disabled) {
            return Ok(None);
        }
        let mut read = || {
            let entry = vcpu.coalesced_mmio_read().map_err(EngineError::call("the ring's mmap"))?;
            Ok(entry.map(|entry| (entry.phys_addr as u16, entry.data[0])))
        };
        let Some((port, byte)) = self.next.take().map_or_else(&mut read, |next| Ok(Some(next)))? else {
            if self.state == State::Disabled {
                self.state = State::Waiting(0);
            }
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

    /// The piece that was read last.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Enables the ring. Returns whether KVM supports it; if not, each transfer stays an exit.
fn enable(vm: &VmFd, vcpu: &mut VcpuFd) -> bool {
    if !vm.check_extension(Cap::CoalescedPio) || vcpu.map_coalesced_mmio_ring().is_err() {
        return false;
    }
    // A zone for each port: one zone of two bytes would also accept 2-byte transfers.
    let Some(failed) =
        PORTS.into_iter().position(|port| vm.register_coalesced_mmio(address(port), 1).is_err())
    else {
        return true;
    };
    for port in &PORTS[..failed] {
        // Cannot fail, because the zone was registered.
        let _ = vm.unregister_coalesced_mmio(address(*port), 1);
    }
    false
}

fn address(port: Port) -> IoEventAddress {
    IoEventAddress::Pio(port.number().into())
}
