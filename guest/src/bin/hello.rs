#![no_std]
#![no_main]
flatland_guest::entry!(main);
fn main() {
    flatland_guest::println!("Hello, Flatland!");
}
