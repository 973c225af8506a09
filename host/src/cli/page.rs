//! `flatland page`: one file for a browser that holds a recorded run, and what looks at it.

#[cfg(feature = "page")]
mod maker;
#[cfg(feature = "page")]
mod names;
pub mod options;
#[cfg(feature = "page")]
mod packed;

#[cfg(feature = "page")]
pub use maker::make;

/// Says where pages are made.
#[cfg(not(feature = "page"))]
pub fn make(_: &options::PageOptions) -> Result<(), String> {
    Err("this `flatland` makes no pages: `cargo xtask page RECORDING -o FILE` in a checkout of Flatland does"
        .into())
}
