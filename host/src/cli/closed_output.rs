//! Whether standard output was closed when the process began. The standard library opens /dev/null in its place
//! before `main`, and the guest's output would be lost silently; so this checks earlier.

#[cfg(unix)]
pub use unix::is_closed;

#[cfg(unix)]
mod unix {
    use std::os::fd::BorrowedFd;
    use std::sync::atomic::{AtomicBool, Ordering};

    use nix::fcntl::{FcntlArg, fcntl};

    static CLOSED: AtomicBool = AtomicBool::new(false);

    // SAFETY: functions listed here are called once, before `main` (System V ABI, "Initialization and Termination
    // Functions"; Mach-O, S_MOD_INIT_FUNC_POINTERS), and this function needs nothing that is set up later.
    #[used]
    #[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".init_array"))]
    #[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__mod_init_func,mod_init_funcs"))]
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

/// A process without standard output has no handle of it.
#[cfg(windows)]
pub fn is_closed() -> bool {
    use std::os::windows::io::AsRawHandle;

    std::io::stdout().as_raw_handle().is_null()
}
