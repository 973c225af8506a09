//! Futures on a machine where nothing runs beside them.

use core::pin::pin;
use core::ptr;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

/// A future is to be polled again. There is one processor, so one flag serves all wakers.
static IS_WOKEN: AtomicBool = AtomicBool::new(false);

static WAKER: RawWakerVTable = RawWakerVTable::new(
    |_| RawWaker::new(ptr::null(), &WAKER),
    |_| IS_WOKEN.store(true, Ordering::Relaxed),
    |_| IS_WOKEN.store(true, Ordering::Relaxed),
    |_| {},
);

/// Runs a future to its end, and returns its value.
///
/// There are no threads, and no interrupts unless the program sets them up, so that a future is polled again only if it woke
/// itself while it was polled.
///
/// # Panics
///
/// If the future waits and has not been woken, because the run would never end.
#[track_caller]
pub fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    // SAFETY: the functions of the table use no data, and may be called from anywhere.
    let waker = unsafe { Waker::from_raw(RawWaker::new(ptr::null(), &WAKER)) };
    let mut context = Context::from_waker(&waker);
    loop {
        IS_WOKEN.store(false, Ordering::Relaxed);
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            // This may be inside another `block_on`, whose future is polled once more than it need be.
            IS_WOKEN.store(true, Ordering::Relaxed);
            return value;
        }
        assert!(
            IS_WOKEN.load(Ordering::Relaxed),
            "a future waits, and nothing is left that could wake it: wake it before it returns `Poll::Pending`"
        );
    }
}
