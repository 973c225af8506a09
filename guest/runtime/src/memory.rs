//! `memcpy`, `memmove`, `memset`, `memcmp` and `bcmp`, which the compiler calls to copy, fill and compare memory, by
//! string instructions.
//!
//! The standard library for a bare target has them as loops of several instructions for each byte or word. There they
//! are weak symbols, so these replace them. String instructions are faster everywhere: a processor moves whole cache
//! lines, the soft engine runs one as a single operation, and a KVM that emulates instructions takes one step for each
//! word instead of one for each instruction of the loop.
//!
//! DF is clear at every call, and must be clear on return (System V ABI for Intel386, "Registers").

// The lint of nightly compilers wants `c_void` where these have `u8`, which is passed in the same way.
#![allow(unknown_lints, reason = "stable does not know the other one")]
#![allow(suspicious_runtime_symbol_definitions)]

use core::arch::asm;

/// The bytes that one iteration moves.
const WORD: usize = 4;

/// Copies `len` bytes and returns the destination. The ranges may overlap if the source is the higher one.
///
/// # Safety
///
/// `len` bytes at `source` can be read, and `len` bytes at `destination` written.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(destination: *mut u8, source: *const u8, len: usize) -> *mut u8 {
    // SAFETY: `rep movs` reads from ESI on and writes from EDI on, in all `len` bytes. LLVM reserves ESI, so it cannot
    // be an operand: it is exchanged with one, and restored. The other operands are not `reg`, which can mean ESI.
    unsafe {
        asm!(
            "xchg esi, {source}",
            "rep movsd",
            "mov ecx, {rest}",
            "rep movsb",
            "mov esi, {source}",
            source = inout(reg_abcd) source => _,
            rest = in(reg_abcd) len % WORD,
            inout("edi") destination => _,
            inout("ecx") len / WORD => _,
            options(nostack, preserves_flags),
        );
    }
    destination
}

/// Copies `len` bytes and returns the destination. The ranges may overlap.
///
/// # Safety
///
/// As for `memcpy`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(destination: *mut u8, source: *const u8, len: usize) -> *mut u8 {
    // The destination begins below the source (the difference wraps around) or behind its end: no byte is overwritten
    // before it is read.
    if (destination as usize).wrapping_sub(source as usize) >= len {
        // SAFETY: the caller guarantees what `memcpy` requires.
        return unsafe { memcpy(destination, source, len) };
    }
    // SAFETY: as in `memcpy`, but from the last byte down, with DF set until `cld`. First come the bytes that are no
    // whole word. Then ESI and EDI point to the last byte of a word, and `movsd` needs the first.
    unsafe {
        asm!(
            "xchg esi, {last}",
            "std",
            "rep movsb",
            "sub esi, {to_first}",
            "sub edi, {to_first}",
            "mov ecx, {words}",
            "rep movsd",
            "cld",
            "mov esi, {last}",
            last = inout(reg_abcd) source.wrapping_add(len).wrapping_sub(1) => _,
            words = in(reg_abcd) len / WORD,
            to_first = const WORD - 1,
            inout("edi") destination.wrapping_add(len).wrapping_sub(1) => _,
            inout("ecx") len % WORD => _,
            options(nostack),
        );
    }
    destination
}

/// Sets `len` bytes to the lowest byte of `value` and returns the destination.
///
/// # Safety
///
/// `len` bytes at `destination` can be written.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(destination: *mut u8, value: i32, len: usize) -> *mut u8 {
    // Not an array of the byte: without optimization, the compiler fills it by calling `memset`.
    let word = u32::from(value as u8) * 0x0101_0101;
    // SAFETY: `rep stos` writes from EDI on, in all `len` bytes.
    unsafe {
        asm!(
            "rep stosd",
            "mov ecx, {rest}",
            "rep stosb",
            rest = in(reg) len % WORD,
            in("eax") word,
            inout("edi") destination => _,
            inout("ecx") len / WORD => _,
            options(nostack, preserves_flags),
        );
    }
    destination
}

/// Compares `len` bytes as unsigned numbers. Returns a negative number, 0 or a positive number, as the left bytes are
/// less, equal or greater.
///
/// # Safety
///
/// `len` bytes at `left` and at `right` can be read.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(left: *const u8, right: *const u8, len: usize) -> i32 {
    let order: i32;
    // SAFETY: `repe cmps` reads from ESI and EDI on, in all at most `len` bytes; ESI as in `memcpy`. If a word
    // differs, its bytes are compared again. With a count of 0 `repe cmps` keeps the flags: `cmp eax, eax` sets ZF.
    unsafe {
        asm!(
            "xchg esi, {left}",
            "cmp eax, eax",
            "repe cmpsd",
            "je 2f",
            "mov edx, {word}",
            "sub esi, edx",
            "sub edi, edx",
            "2:",
            "mov ecx, edx",
            "repe cmpsb",
            "seta al",
            "setb dl",
            "sub al, dl",
            "movsx eax, al",
            "mov esi, {left}",
            left = inout(reg_abcd) left => _,
            word = const WORD,
            inout("edi") right => _,
            inout("ecx") len / WORD => _,
            inout("edx") len % WORD => _,
            out("eax") order,
            options(nostack, readonly),
        );
    }
    order
}

/// Compares `len` bytes. Returns 0 if they are equal.
///
/// # Safety
///
/// As for `memcmp`.
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(left: *const u8, right: *const u8, len: usize) -> i32 {
    // SAFETY: the caller guarantees what `memcmp` requires.
    unsafe { memcmp(left, right, len) }
}

#[cfg(test)]
mod tests {
    use core::hint::black_box;

    use super::{bcmp, memcmp, memcpy, memmove, memset};
    use flatland_guest::test;

    const ROOM: usize = 64;

    /// Bytes that are all different.
    fn numbered() -> [u8; ROOM] {
        core::array::from_fn(|index| index as u8)
    }

    fn copied(
        copy: unsafe extern "C" fn(*mut u8, *const u8, usize) -> *mut u8,
        from: usize,
        to: usize,
        len: usize,
    ) -> [u8; ROOM] {
        let mut bytes = black_box(numbered());
        let start = bytes.as_mut_ptr();
        let (destination, source) = (start.wrapping_add(to), start.wrapping_add(from));
        // SAFETY: both ranges lie in `bytes`.
        let returned = unsafe { copy(destination, source, len) };
        assert_eq!(returned, destination);
        bytes
    }

    fn expected(from: usize, to: usize, len: usize) -> [u8; ROOM] {
        core::array::from_fn(|index| {
            let moved = (to..to + len).contains(&index);
            if moved { (index - to + from) as u8 } else { index as u8 }
        })
    }

    #[test]
    fn copies_of_any_length_and_alignment() {
        for from in 0..4 {
            for to in 32..36 {
                for len in 0..=17 {
                    assert_eq!(copied(memcpy, from, to, len), expected(from, to, len), "{from} {to} {len}");
                }
            }
        }
    }

    #[test]
    fn copies_that_overlap_upwards_and_downwards() {
        for from in 16..24 {
            for to in 10..30 {
                for len in [0, 1, 3, 4, 5, 15, 16, 17] {
                    assert_eq!(copied(memmove, from, to, len), expected(from, to, len), "{from} {to} {len}");
                }
            }
        }
    }

    #[test]
    fn fills_exactly_what_is_asked_for() {
        for start in 0..4 {
            for len in 0..=17 {
                let mut bytes = black_box(numbered());
                let filled = bytes[start..start + len].as_mut_ptr();
                // SAFETY: the range lies in `bytes`. Only the lowest byte of the value counts.
                unsafe { memset(filled, 0x1ab, len) };
                for (index, byte) in bytes.into_iter().enumerate() {
                    let filled = (start..start + len).contains(&index);
                    assert_eq!(byte, if filled { 0xab } else { index as u8 }, "{start} {len} {index}");
                }
            }
        }
    }

    #[test]
    fn compares_by_the_first_byte_that_differs() {
        for len in 0..=17 {
            for start in 0..4 {
                let left = black_box(numbered());
                let compare = |right: &[u8; ROOM]| {
                    let (left, right) = (left[start..].as_ptr(), right[start..].as_ptr());
                    // SAFETY: `len` bytes from `start` on lie in both arrays.
                    let order = unsafe { memcmp(left, right, len) };
                    // SAFETY: as above.
                    let differ = unsafe { bcmp(left, right, len) } != 0;
                    (order.signum(), differ)
                };
                let mut right = left;
                // A byte behind the range does not count.
                right[start + len] = 0xff;
                assert_eq!(compare(&right), (0, false), "{start} {len}");
                for index in start..start + len {
                    let mut right = left;
                    right[index] = 0xff;
                    // Nor does a byte behind the first difference.
                    right[index + 1] = 0;
                    assert_eq!(compare(&right), (-1, true), "{start} {len} {index}");
                    right[index] = left[index] - u8::from(left[index] > 0);
                    let expected = i32::from(left[index] > 0);
                    if index + 1 == start + len {
                        assert_eq!(compare(&right), (expected, expected != 0), "{start} {len} {index}");
                    } else if expected != 0 {
                        assert_eq!(compare(&right), (1, true), "{start} {len} {index}");
                    }
                }
            }
        }
    }
}
