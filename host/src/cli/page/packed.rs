//! Bytes as text in a page.

use data_encoding::BASE64;
use miniz_oxide::deflate::compress_to_vec_zlib;
use sha2::{Digest, Sha256};

/// zlib's best level.
const LEVEL: u8 = 9;

/// These bytes in zlib's format (RFC 1950), which a browser undoes by itself, as base64.
pub fn packed(bytes: &[u8]) -> String {
    BASE64.encode(&compress_to_vec_zlib(bytes, LEVEL))
}

/// The hash by which a page's policy names a script or a style (Content Security Policy, section 2.3.1): SHA-256, as base64.
pub fn hash(text: &str) -> String {
    BASE64.encode(&Sha256::digest(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `sha256sum` says of "abc", as base64.
    #[test]
    fn the_hash_is_that_of_the_standard() {
        assert_eq!(hash("abc"), "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
    }

    #[test]
    fn what_is_packed_is_unpacked_again() {
        let bytes: Vec<u8> = (0..5000_u32).flat_map(|number| (number / 7).to_le_bytes()).collect();
        let compressed = BASE64.decode(packed(&bytes).as_bytes()).expect("it is base64");
        assert_eq!(miniz_oxide::inflate::decompress_to_vec_zlib(&compressed).ok(), Some(bytes));
    }
}
