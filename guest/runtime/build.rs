//! Adds the folder of the linker script, which the target (i686-bare.json) names, to the linker's search path. This works
//! for programs in other crates that use the runtime, too.

use std::env;

fn main() {
    let folder = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    println!("cargo::rustc-link-search=native={folder}");
    println!("cargo::rerun-if-changed=flatland.ld");
    println!("cargo::rerun-if-changed=build.rs");
}
