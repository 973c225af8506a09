//! Makes KVM_RUN return, from another thread or from a signal handler, without installing a signal handler.
//!
//! Only a signal to its thread ends KVM_RUN. The thread blocks SIGURG, and KVM unblocks it only while the guest runs
//! (KVM API 4.10, KVM_SET_SIGNAL_MASK). A signal that comes before KVM_RUN stays pending and ends KVM_RUN at once, so
//! none is lost. None is ever delivered, so no handler is needed: a pending signal is consumed after the run. SIGURG
//! is ignored by default, so a late one has no effect.

use std::hint;
use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use std::time::Duration;

use flatland_x86::{EngineError, Interrupt};
use kvm_ioctls::VcpuFd;
use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{SigEvent, SigSet, SigevNotify, SigmaskHow, Signal, pthread_sigmask};
use nix::sys::timer::{Expiration, Timer, TimerSetTimeFlags};
use nix::time::ClockId;

const SIGNAL: Signal = Signal::SIGURG;

/// Shared by the thread that runs an engine and the threads that interrupt it.
#[derive(Debug, Default)]
struct Shared {
    /// Whether the current run, or else the next one, must return.
    requested: AtomicBool,
    /// The thread that runs the engine, between [`Entrance::enter`] and [`Entrance::leave`], or 0.
    thread: AtomicI32,
    /// How many threads are about to send a signal to `thread`.
    senders: AtomicU32,
    /// A signal has been sent to `thread`, and may be pending there.
    sent: AtomicBool,
}

impl Interrupt for Shared {
    fn interrupt(&self) {
        self.requested.store(true, Ordering::SeqCst);
        // From here on `leave` waits, so `thread` stays the thread that runs the engine.
        self.senders.fetch_add(1, Ordering::SeqCst);
        let thread = self.thread.load(Ordering::SeqCst);
        if thread != 0 {
            self.sent.store(true, Ordering::SeqCst);
            // SAFETY: this call takes numbers only.
            let process = unsafe { libc::getpid() };
            // SAFETY: as above. It cannot fail for a thread that lives.
            unsafe { libc::syscall(libc::SYS_tgkill, process, thread, SIGNAL as libc::c_int) };
        }
        self.senders.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Enters and leaves the state in which a thread runs an engine.
#[derive(Debug, Default)]
pub struct Entrance {
    shared: Arc<Shared>,
    /// This thread's signal mask before [`Self::enter`].
    before: Option<SigSet>,
    /// The mask that KVM was given last, as the kernel's own set.
    kvm_mask: Option<u64>,
    timer: Option<OwnTimer>,
}

/// Deletes its timer when it is dropped.
#[derive(Debug)]
struct OwnTimer {
    _timer: Timer,
}

// SAFETY: `timer_t` is the kernel's number of the timer in this process. Each thread may delete it.
unsafe impl Send for OwnTimer {}

impl Entrance {
    /// For [`flatland_x86::Engine::interrupt_handle`].
    pub fn handle(&self) -> Arc<dyn Interrupt> {
        self.shared.clone()
    }

    /// Whether this thread has entered.
    pub fn is_entered(&self) -> bool {
        self.before.is_some()
    }

    /// Enters: from now on the signal reaches this thread only in KVM_RUN.
    pub fn enter(&mut self, vcpu: &VcpuFd) -> Result<(), EngineError> {
        let mut before = SigSet::empty();
        pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&SigSet::from(SIGNAL)), Some(&mut before))
            .map_err(EngineError::call("pthread_sigmask"))?;
        let mut mask = before;
        mask.remove(SIGNAL);
        let mask = kernel_set(&mask);
        if self.kvm_mask != Some(mask) {
            if let Err(errno) = set_signal_mask(vcpu, mask) {
                // Cannot fail: the mask comes from the same call.
                let _ = pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None);
                return Err(EngineError::call("KVM_SET_SIGNAL_MASK")(errno));
            }
            self.kvm_mask = Some(mask);
        }
        self.before = Some(before);
        self.shared.thread.store(nix::unistd::gettid().as_raw(), Ordering::SeqCst);
        Ok(())
    }

    /// Sends the signal after this time, unless [`Self::leave`] comes before.
    pub fn interrupt_after(&mut self, time: Duration) -> nix::Result<()> {
        if !self.is_entered() {
            return Err(Errno::EINVAL);
        }
        let notify = SigevNotify::SigevThreadId {
            signal: SIGNAL,
            thread_id: nix::unistd::gettid().as_raw(),
            si_value: 0,
        };
        let mut timer = Timer::new(ClockId::CLOCK_MONOTONIC, SigEvent::new(notify))?;
        timer.set(Expiration::OneShot(time.into()), TimerSetTimeFlags::empty())?;
        self.timer = Some(OwnTimer { _timer: timer });
        Ok(())
    }

    /// Undoes [`Self::enter`].
    pub fn leave(&mut self) {
        let Some(before) = self.before.take() else { return };
        self.shared.thread.store(0, Ordering::SeqCst);
        while self.shared.senders.load(Ordering::SeqCst) != 0 {
            hint::spin_loop();
        }
        // The timer is deleted first, so that its signal does not come later.
        let had_timer = self.timer.take().is_some();
        if self.shared.sent.swap(false, Ordering::SeqCst) || had_timer {
            consume_pending();
        }
        // Cannot fail: the mask comes from the same call.
        let _ = pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None);
    }

    /// Consumes a request that came before the run. Returns whether there was one.
    pub fn take_request(&self) -> bool {
        let requested = &self.shared.requested;
        requested.load(Ordering::Relaxed) && requested.swap(false, Ordering::SeqCst)
    }

    /// Restores the request, if the run returned for another reason.
    pub fn request_again(&self) {
        self.shared.requested.store(true, Ordering::SeqCst);
    }

    /// Consumes the signal that ended KVM_RUN, so that it does not end the next KVM_RUN.
    pub fn after_signal(&self) {
        self.shared.requested.store(false, Ordering::SeqCst);
        consume_pending();
    }
}

impl Drop for Entrance {
    /// A panic may drop an engine that has entered. Its thread may continue, so its signal mask is restored.
    fn drop(&mut self) {
        if self.shared.thread.load(Ordering::SeqCst) == nix::unistd::gettid().as_raw() {
            self.leave();
        } else {
            // Another thread's mask cannot be set from here. This at least stops further signals to it.
            self.shared.thread.store(0, Ordering::SeqCst);
        }
    }
}

/// Consumes a pending signal.
fn consume_pending() {
    let set = SigSet::from(SIGNAL);
    let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the set and the time live through the call, and no information about the signal is requested.
    unsafe { libc::sigtimedwait(set.as_ref(), ptr::null_mut(), &now) };
}

/// The kernel's own form of a set: a bit for each signal from 1 to 64.
fn kernel_set(set: &SigSet) -> u64 {
    // nix does not list real-time signals, so each number is tested. A pending one that is missing here would end
    // each KVM_RUN at once.
    // SAFETY: the set lives through the call.
    let contains = |signal: &libc::c_int| unsafe { libc::sigismember(set.as_ref(), *signal) } == 1;
    (1..=64).filter(contains).fold(0, |signals, signal| signals | 1 << (signal - 1))
}

/// KVM_SET_SIGNAL_MASK (KVM API 4.10): the signals that are blocked during KVM_RUN.
fn set_signal_mask(vcpu: &VcpuFd, signals: u64) -> Result<(), Errno> {
    /// `struct kvm_signal_mask` with the kernel's own set.
    #[repr(C, packed)]
    struct Mask {
        len: u32,
        signals: u64,
    }
    let argument = Mask { len: size_of::<u64>() as u32, signals };
    // The argument's size in the request number is 4, that of `len`, without the set after it.
    let request = nix::request_code_write!(0xae, 0x8b, size_of::<u32>());
    // SAFETY: KVM reads `len` and that many bytes after it, which `Mask` contains.
    let result = unsafe { libc::ioctl(vcpu.as_raw_fd(), request, &raw const argument) };
    Errno::result(result).map(drop)
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::{Duration, Instant};

    use flatland_x86::{Engine, Exit, MemorySize};

    use super::*;
    use crate::KvmEngine;

    fn engine(code: &[u8]) -> Option<KvmEngine> {
        if std::env::var_os("FLATLAND_TEST_WITHOUT_KVM").is_some() {
            return None;
        }
        let mut engine = KvmEngine::new(MemorySize::default()).expect("this test needs /dev/kvm");
        engine.write_ram(0, code);
        Some(engine)
    }

    /// Sends this thread a real-time signal, which stays pending.
    fn block_and_raise_real_time() {
        let signal = libc::SIGRTMIN() + 3;
        let mut set = *SigSet::empty().as_ref();
        // SAFETY: the set lives through the call.
        assert_eq!(unsafe { libc::sigaddset(&mut set, signal) }, 0);
        // SAFETY: as above; the old mask is not requested.
        assert_eq!(unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &set, ptr::null_mut()) }, 0);
        // SAFETY: this call takes nothing.
        let this = unsafe { libc::pthread_self() };
        // SAFETY: this thread lives, and blocks the signal.
        assert_eq!(unsafe { libc::pthread_kill(this, signal) }, 0);
    }

    /// This test needs KVM.
    #[test]
    fn a_blocked_real_time_signal_does_not_stop_the_guest() {
        // On its own thread, so that other tests keep their masks.
        let running = thread::spawn(|| {
            // hlt
            let Some(mut engine) = engine(&[0xf4]) else { return };
            block_and_raise_real_time();
            let start = Instant::now();
            // Other signals may interrupt it.
            while matches!(engine.run().unwrap(), Exit::Interrupted) {
                assert!(start.elapsed() < Duration::from_secs(10), "the guest does not run");
            }
            assert_eq!(engine.registers().unwrap().eip, 1);
        });
        running.join().unwrap();
    }

    /// This test needs KVM.
    #[test]
    fn an_engine_that_is_dropped_gives_its_thread_the_mask_back() {
        let running = thread::spawn(|| {
            let Some(mut engine) = engine(&[0xf4]) else { return };
            let is_blocked = || SigSet::thread_get_mask().unwrap().contains(SIGNAL);
            engine.enter().unwrap();
            assert!(is_blocked());
            drop(engine);
            assert!(!is_blocked());
        });
        running.join().unwrap();
    }
}
