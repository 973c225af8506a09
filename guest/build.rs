fn main() {
    let here = std::env::var("CARGO_MANIFEST_DIR").unwrap();
    println!("cargo::rustc-link-search=native={here}");
    println!("cargo::rerun-if-changed=flatland.ld");
    println!("cargo::rerun-if-changed=build.rs");
}
