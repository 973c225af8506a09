//! Output without exits: what the guest sends to some ports KVM collects in a ring, in the order in which it was sent, and
//! goes on running the guest (KVM API 4.116, KVM_REGISTER_COALESCED_MMIO).
//!
//! Whoever waits for something else, or for too long, must look here first: a interrupt brings KVM back.

use flatland_contract::Port;
use kvm_ioctls::{Cap, IoEventAddress, VcpuFd, VmFd};

use flatland_x86::EngineError;

/// The ports that take output and answer nothing.
const PORTS: [Port; 2] = [Port::Console, Port::Diagnostics];

/// Whether this is one of them.
pub fn takes(port: u16) -> bool {
    PORTS.into_iter().any(|known| known.number() == port)
}

/// After so many output exits KVM is asked to collect. Asking costs nothing, but a VM that was asked takes about as long
/// to close (an SRCU grace period, 13 ms) as so many exits take: a guest with little to say is done sooner without.
const EXITS_UNTIL_ENABLED: u32 = 1000;

/// What was taken out of the ring, and handed over piece by piece.
#[derive(Debug)]
pub struct Ring {
    state: State,
    bytes: Vec<u8>,
    /// The byte that ended the last piece, because it went elsewhere.
    next: Option<(u16, u8)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// KVM has not been asked yet, after so many exits that it could have spared us.
    Waiting(u32),
    /// KVM collects.
    Enabled,
    /// It did, and what it has collected may still be there.
    Disabled,
    /// It cannot.
    Never,
}

impl Ring {
    pub fn new() -> Self {
        Self { state: State::Waiting(0), bytes: Vec::new(), next: None }
    }

    /// There was an exit for output at one of the ports. Has KVM collect what comes from now on, if it is time and KVM can.
    pub fn count_exit(&mut self, vm: &VmFd, vcpu: &mut VcpuFd) {
        if let State::Waiting(exits) = &mut self.state {
            *exits += 1;
            if *exits == EXITS_UNTIL_ENABLED {
                self.state = if enable(vm, vcpu) { State::Enabled } else { State::Never };
            }
        }
    }

    /// Whether there may be output here that nobody has been told of.
    pub fn is_enabled(&self) -> bool {
        self.state == State::Enabled
    }

    /// Has KVM collect no more. What was collected is still here.
    pub fn disable(&mut self, vm: &VmFd) {
        if self.state == State::Enabled {
            for port in PORTS {
                // It was registered, so this cannot fail.
                let _ = vm.unregister_coalesced_mmio(address(port), 1);
            }
            self.state = State::Disabled;
        }
    }

    /// Takes the next bytes that went to one port, for [`Self::bytes`], and returns that port.
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

    /// What was taken last.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Whether KVM collects now. Where it cannot, each transfer goes on being an exit.
fn enable(vm: &VmFd, vcpu: &mut VcpuFd) -> bool {
    if !vm.check_extension(Cap::CoalescedPio) || vcpu.map_coalesced_mmio_ring().is_err() {
        return false;
    }
    // A zone for each: one of two bytes would take a transfer of that width, too.
    let Some(failed) =
        PORTS.into_iter().position(|port| vm.register_coalesced_mmio(address(port), 1).is_err())
    else {
        return true;
    };
    for port in &PORTS[..failed] {
        // It was registered, so this cannot fail.
        let _ = vm.unregister_coalesced_mmio(address(*port), 1);
    }
    false
}

fn address(port: Port) -> IoEventAddress {
    IoEventAddress::Pio(port.number().into())
}
