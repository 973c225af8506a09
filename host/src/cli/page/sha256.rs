//! SHA-256 (FIPS 180-4), by which a page's policy names its script. A crate would be compiled by all who never make a page.

const K: [u32; 64] = constants();

/// The first 32 bits of the fractional parts of the cube roots of the first 64 primes.
const fn constants() -> [u32; 64] {
    let (mut k, mut prime, mut at) = ([0; 64], 2, 0);
    while at < 64 {
        let (mut divisor, mut is_prime) = (2, true);
        while divisor * divisor <= prime {
            is_prime = is_prime && prime % divisor != 0;
            divisor += 1;
        }
        if is_prime {
            k[at] = root(prime, 3);
            at += 1;
        }
        prime += 1;
    }
    k
}

/// 32 bits behind the point of the square or cube root.
const fn root(number: u64, degree: u32) -> u32 {
    // The largest `low` with low^degree <= number * 2^(32 * degree). Roots are below 2^5 for 32 bits more.
    let (mut low, mut high) = (0_u128, 1_u128 << 37);
    while high - low > 1 {
        let middle = (low + high) / 2;
        let power = if degree == 2 { middle * middle } else { middle * middle * middle };
        if power <= (number as u128) << (32 * degree) {
            low = middle;
        } else {
            high = middle;
        }
    }
    low as u32
}

/// The hash of these bytes.
pub fn of(bytes: &[u8]) -> [u8; 32] {
    let mut state = [2, 3, 5, 7, 11, 13, 17, 19].map(|prime| root(prime, 2));
    let mut padded = bytes.to_vec();
    padded.push(0x80);
    // Up to 8 bytes before the end of a block, where the length stands.
    padded.resize((padded.len() + 8).next_multiple_of(64) - 8, 0);
    padded.extend_from_slice(&(bytes.len() as u64 * 8).to_be_bytes());
    for block in padded.chunks_exact(64) {
        compress(&mut state, block);
    }
    let mut hash = [0; 32];
    for (to, word) in hash.chunks_exact_mut(4).zip(state) {
        to.copy_from_slice(&word.to_be_bytes());
    }
    hash
}

fn compress(state: &mut [u32; 8], block: &[u8]) {
    let mut w = [0_u32; 64];
    for (to, word) in w.iter_mut().zip(block.chunks_exact(4)) {
        *to = u32::from_be_bytes(word.try_into().unwrap_or_default());
    }
    for at in 16..64 {
        let (a, b) = (w[at - 15], w[at - 2]);
        let s0 = a.rotate_right(7) ^ a.rotate_right(18) ^ a >> 3;
        let s1 = b.rotate_right(17) ^ b.rotate_right(19) ^ b >> 10;
        w[at] = w[at - 16].wrapping_add(s0).wrapping_add(w[at - 7]).wrapping_add(s1);
    }
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *state;
    for at in 0..64 {
        let s1 = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
        let choice = e & f ^ !e & g;
        let first = h.wrapping_add(s1).wrapping_add(choice).wrapping_add(K[at]).wrapping_add(w[at]);
        let s0 = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
        let majority = a & b ^ a & c ^ b & c;
        (h, g, f, e, d, c, b, a) =
            (g, f, e, d.wrapping_add(first), c, b, a, first.wrapping_add(s0.wrapping_add(majority)));
    }
    for (to, value) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
        *to = to.wrapping_add(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `sha256sum` says of these.
    #[test]
    fn hashes_are_those_of_the_standard() {
        let hex = |bytes: &[u8]| of(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        for (text, expected) in [
            ("".into(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            ("abc".into(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (
                "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq".to_owned(),
                "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
            ),
            ("a".repeat(1_000_000), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"),
        ] {
            assert_eq!(hex(text.as_bytes()), expected, "{} bytes", text.len());
        }
    }
}
