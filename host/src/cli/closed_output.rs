//! Whether standard output was closed when the process began. The standard library opens /dev/null in its place
//! before `main`, and the guest's output would be lost silently; so this checks earlier.

#[cfg(target_os = "linux")]
pub use linux::is_closed;

#[cfg(target_os = "linux")]
mod linux {
    use std::os::fd::BorrowedFd;
    use std::sync::atomic::{AtomicBool, Ordering};

    use nix::fcntl::{FcntlArg, fcntl};

    static CLOSED: AtomicBool = AtomicBool::new(false);

    // SAFETY: functions listed here are called once, before `main` (System V ABI, "Initialization and Termination
    // Functions"), and this function needs nothing that is set up later.
    #[used]
    #[unsafe(link_section = ".init_array")]
    static BEFORE_MAIN: extern "C" fn() = check;

    extern "C" fn check() {
        // SAFETY: the descriptor is only checked for being open.
        let output = unsafe { BorrowedFd::borrow_raw(1) };
        CLOSED.store(fcntl(output, FcntlArg::F_GETFD).is_err(), Ordering::Relaxed);
    }

    /// Whether standard output was closed when the process began.
    pub fn is_closed() -> bool {
        CLOSED.load(Ordering::Relaxed)
    }
}

/// Not detected on other systems.
#[cfg(not(target_os = "linux"))]
pub fn is_closed() -> bool {
    false
}
