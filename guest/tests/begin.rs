//! What tests begin with: `#[init]`, a machine of their own size, and waiting.

#![no_std]
#![no_main]

use core::future;
use core::hint::black_box;
use core::pin::Pin;
use core::sync::atomic::{AtomicU32, Ordering};
use core::task::{Context, Poll};

use flatland_guest::prelude::*;
use flatland_guest::task::block_on;
use flatland_guest::{init, test};

/// What the tests here are about.
struct Board {
    leds: Vec<bool>,
}

static BOARDS: AtomicU32 = AtomicU32::new(0);

#[init]
async fn board() -> Board {
    Later(2).await;
    BOARDS.fetch_add(1, Ordering::Relaxed);
    Board { leds: vec![false; 8] }
}

/// A future that is polled so many times in vain, and wakes itself each time.
struct Later(u32);

impl Future for Later {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context) -> Poll<()> {
        match self.0 {
            0 => Poll::Ready(()),
            _ => {
                self.0 -= 1;
                context.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}

#[test]
fn a_test_may_have_what_init_returns(board: Board) {
    assert_eq!((board.leds.len(), BOARDS.load(Ordering::Relaxed)), (8, 1));
}

#[test]
fn a_test_without_an_argument_begins_with_it_too() {
    assert_eq!(BOARDS.load(Ordering::Relaxed), 1);
}

#[test]
async fn a_test_may_wait(mut board: Board) -> Result<(), &'static str> {
    board.leds[3] = true;
    Later(3).await;
    board.leds.iter().position(|led| *led).filter(|led| *led == 3).map(drop).ok_or("it is dark")
}

#[test]
async fn waiting_may_be_nested() {
    Later(1).await;
    let inside = || block_on(Later(1));
    future::poll_fn(|context| {
        context.waker().wake_by_ref();
        inside();
        Poll::Ready(())
    })
    .await;
    let mut is_first = true;
    future::poll_fn(|context| {
        if !is_first {
            return Poll::Ready(());
        }
        is_first = false;
        // Woken before the inner one polls.
        context.waker().wake_by_ref();
        inside();
        Poll::Pending
    })
    .await;
}

#[test]
#[should_panic(
    expected = "a future waits, and nothing is left that could wake it: wake it before it returns `Poll::Pending`"
)]
async fn what_nothing_wakes_ends_the_run() {
    future::pending::<()>().await;
}

#[test]
#[memory("64M")]
#[stack("20M")]
fn a_test_may_ask_for_its_machine() {
    // Larger than the stack of a machine that nobody asked for, and copied some times where it is not optimized.
    let on_the_stack = black_box([1_u8; 4 << 20]);
    let mut on_the_heap = Vec::with_capacity(40 << 20);
    on_the_heap.push(black_box(on_the_stack)[3 << 20]);
    assert_eq!(on_the_heap, [1]);
}

mod inside {
    use flatland_guest::test;

    use super::*;

    #[test]
    fn a_module_inside_has_it_by_a_glob(Board { leds }: Board) {
        assert!(leds.iter().all(|led| !led));
    }
}
