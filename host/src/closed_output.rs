//! Whether standard output was closed when the process began. The standard library opens /dev/null in its place before
//! `main`, and the guest's output would be lost without a word; so this looks earlier.

#[cfg(target_os = "linux")]
pub use linux::is_closed;

#[cfg(target_os = "linux")]
mod linux {
    use std::os::fd::BorrowedFd;
    use std::sync::atomic::{AtomicBool, Ordering};

    use nix::fcntl::{FcntlArg, fcntl};

    static CLOSED: AtomicBool = AtomicBool::new(false);

    // SAFETY: functions listed here are called once, before `main` (System V ABI, "Initialization and Termination
    // Functions"), and this one needs nothing that is set up later.
    #[used]
    #[unsafe(link_section = ".init_array")]
    static BEFORE_MAIN: extern "C" fn() = look;

    extern "C" fn look() {
        // SAFETY: nothing is done with it but asking whether it is open.
        let output = unsafe { BorrowedFd::borrow_raw(1) };
        CLOSED.store(fcntl(output, FcntlArg::F_GETFD).is_err(), Ordering::Relaxed);
    }

    /// Whether there is no standard output.
    pub fn is_closed() -> bool {
        CLOSED.load(Ordering::Relaxed)
    }
}

/// Not known here.
#[cfg(not(target_os = "linux"))]
pub fn is_closed() -> bool {
    false
}
