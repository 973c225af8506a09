//! Lets the linker find the linker script that the target (i686-bare.json) names. It is looked for in the
//! search path, so programs outside this crate that use the runtime find it too.

use std::env;

fn main() {
    let folder = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    println!("cargo::rustc-link-search=native={folder}");
    println!("cargo::rerun-if-changed=flatland.ld");
    println!("cargo::rerun-if-changed=build.rs");
}
