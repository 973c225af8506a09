//! Waits for a stream. A wait can be ended from another thread.

#[cfg(all(target_os = "linux", not(portable)))]
pub use linux::Waker;

#[cfg(all(target_os = "linux", not(portable)))]
mod linux {
    use std::io;
    use std::os::fd::{AsFd, BorrowedFd};
    use std::sync::OnceLock;
    use std::time::Duration;

    use nix::errno::Errno;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use nix::sys::eventfd::{EfdFlags, EventFd};

    /// The timeout of a wait without an eventfd, in milliseconds.
    const PATIENCE: u16 = 5;

    /// Ends a wait for a stream from another thread or a signal handler.
    #[derive(Debug, Default)]
    pub struct Waker(OnceLock<Option<EventFd>>);

    impl Waker {
        /// Prepares for a wait.
        pub fn prepare(&self) {
            // Without an eventfd, waits end by a timeout.
            self.0.get_or_init(|| EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).ok());
        }

        /// Ends the current wait, or the next one. May be called in a signal handler: it makes a load and a write(2).
        pub fn wake(&self) {
            if let Some(Some(event)) = self.0.get() {
                // Fails only after 2^64 wakes.
                let _ = event.write(1);
            }
        }

        /// Waits until [`Self::wake`], or a signal.
        pub fn wait(&self) {
            match self.0.get().and_then(Option::as_ref) {
                Some(event) => {
                    // A failure is a wake that nobody has asked for.
                    let _ = poll(&mut [PollFd::new(event.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE);
                    let _ = event.read();
                }
                None => std::thread::sleep(Duration::from_millis(PATIENCE.into())),
            }
        }

        /// Waits until the descriptor is ready, or has an error that the next read or write will return. `false` if
        /// the wait was ended by [`Self::wake`], a signal or the timeout.
        pub fn poll(&self, fd: BorrowedFd, events: PollFlags, timeout: Option<Duration>) -> io::Result<bool> {
            let event = self.0.get().and_then(Option::as_ref);
            let timeout = match (timeout, event) {
                (Some(timeout), _) => u16::try_from(timeout.as_millis()).unwrap_or(u16::MAX).into(),
                (None, Some(_)) => PollTimeout::NONE,
                (None, None) => PATIENCE.into(),
            };
            let stream = PollFd::new(fd, events);
            let result = match event {
                Some(event) => {
                    let mut fds = [stream, PollFd::new(event.as_fd(), PollFlags::POLLIN)];
                    let result = poll(&mut fds, timeout);
                    if fds[1].any() == Some(true) {
                        // Does not block: the eventfd is non-blocking and readable.
                        let _ = event.read();
                    }
                    result.map(|_| fds[0].any() == Some(true))
                }
                None => poll(&mut [stream], timeout).map(|ready| ready > 0),
            };
            match result {
                Err(Errno::EINTR) => Ok(false),
                result => Ok(result?),
            }
        }
    }
}

/// Does nothing: on other systems a wait polls for interrupts.
#[cfg(not(all(target_os = "linux", not(portable))))]
#[derive(Debug, Default)]
pub struct Waker(());

#[cfg(not(all(target_os = "linux", not(portable))))]
impl Waker {
    pub fn prepare(&self) {}

    pub fn wake(&self) {}

    pub fn wait(&self) {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}
