//! Finishes the I/O of an exit without running the guest, or gives it up.
//!
//! KVM finishes an I/O at the start of the next KVM_RUN (KVM API 5, KVM_EXIT_IO). So it must be finished or given up before the
//! processor's state is changed or saved.

use flatland_contract::Direction;
use flatland_x86::EngineError;

use super::run_page::{self, Io};
use super::{Kind, KvmEngine, LastExit, Output};

impl KvmEngine {
    /// Finishes the I/O of the last exit without running the guest: KVM_RUN does that first, and then returns EINTR
    /// at once if `immediate_exit` is set (KVM API 4.10 and 5). Returns an exit if there was one: memory may refuse
    /// what an `ins` has read.
    pub(super) fn finish_io(&mut self) -> Result<Option<Kind>, EngineError> {
        self.vcpu.set_kvm_immediate_exit(1);
        let result = self.enter_kvm();
        self.vcpu.set_kvm_immediate_exit(0);
        Ok(match result? {
            // The instruction is complete, and the guest is single-stepped.
            Kind::Debug | Kind::Interrupted => None,
            kind => Some(kind),
        })
    }

    /// Finishes an exit that is given up, and ignores the exits that follow: KVM reports each part of an access
    /// outside RAM.
    pub(super) fn give_up_io(&mut self) -> Result<(), EngineError> {
        while let Some(Kind::Mmio(..)) = self.finish_io()? {}
        Ok(())
    }

    /// Finishes an `out`, which causes no exit.
    pub(super) fn finish_out(&mut self) -> Result<LastExit, EngineError> {
        self.give_up_io()?;
        let regs = self.kvm_regs()?;
        let goes_on = regs.rcx as u32 != 0 && self.repeated(regs.rip as u32).is_some();
        Ok(LastExit::Sent { goes_on })
    }

    /// Moves all output from the ring to `unreported`.
    pub(super) fn drain_ring(&mut self) -> Result<(), EngineError> {
        while let Some(port) = self.ring.take(&mut self.vcpu)? {
            let bytes = self.ring.bytes().to_vec();
            self.unreported.push_back(Output { port, width: 1, bytes, last: LastExit::Before });
        }
        Ok(())
    }

    /// Gives up a pending I/O exit. Output has been sent, and is reported after that of the ring. Input becomes the
    /// next instruction again.
    pub(super) fn give_up_pending_io(&mut self) -> Result<(), EngineError> {
        if !matches!(self.pending, Some(Kind::Io)) {
            return Ok(());
        }
        self.pending = None;
        self.drain_ring()?;
        let Io { port, width, direction, data } = run_page::io(self.vcpu.get_kvm_run());
        match direction {
            Direction::Out => {
                let bytes = data.to_vec();
                let last = self.finish_out()?;
                self.unreported.push_back(Output { port, width, bytes, last });
            }
            Direction::In => {
                let regs = self.kvm_regs()?;
                self.give_up_io()?;
                self.set_kvm_regs(&regs)?;
            }
        }
        Ok(())
    }
}
