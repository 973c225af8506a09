//! What the compiler calls to copy, fill and compare memory: `memcpy`, `memmove`, `memset`, `memcmp` and `bcmp`, by string
//! instructions.
//!
//! The standard library for a bare target has them as loops, several instructions for each word or byte; it lets others
//! take their place (they are weak symbols there). A processor moves whole lines with a `rep movs`, the soft engine does it
//! at once, and a KVM that emulates instructions spends one step on each word, where it would spend one on each instruction
//! of the loop.
//!
//! DF is clear here and at every call (System V ABI for Intel386, "Registers").

use core::arch::asm;

/// Bytes that one iteration moves.
const WORD: usize = 4;

/// Copies so many bytes, from where they do not overlap, or from above; returns the destination.
///
/// # Safety
///
/// The bytes at `source` can be read, and those at `destination` written.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(destination: *mut u8, source: *const u8, len: usize) -> *mut u8 {
    // SAFETY: `rep movs` reads what ESI points to and writes what EDI points to, in all `len` bytes. ESI is LLVM's own and
    // may not be asked for, so it is exchanged for the time being, and nothing else may be in it: `reg` has it, too.
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

/// Copies so many bytes, which may overlap; returns the destination.
///
/// # Safety
///
/// As for `memcpy`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(destination: *mut u8, source: *const u8, len: usize) -> *mut u8 {
    // Below the source, or behind its end, where the difference wraps around or is large.
    if (destination as usize).wrapping_sub(source as usize) >= len {
        // SAFETY: the caller's.
        return unsafe { memcpy(destination, source, len) };
    }
    // SAFETY: as in `memcpy`, from the last byte down, first what is no whole word. Then ESI and EDI are at the last byte
    // of a word, and `movsd` wants the first. DF is set for the time being.
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

/// Sets so many bytes to the lowest byte of `value`; returns the destination.
///
/// # Safety
///
/// The bytes can be written.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(destination: *mut u8, value: i32, len: usize) -> *mut u8 {
    // Not an array of the byte: without optimization, the compiler fills it by calling `memset`.
    let word = u32::from(value as u8) * 0x0101_0101;
    // SAFETY: `rep stos` writes what EDI points to, in all `len` bytes.
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

/// Compares so many bytes, as numbers without a sign: less than 0, 0, or more.
///
/// # Safety
///
/// The bytes at both places can be read.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(left: *const u8, right: *const u8, len: usize) -> i32 {
    let order: i32;
    // SAFETY: `repe cmps` reads what ESI and EDI point to, in all up to `len` bytes; ESI as in `memcpy`. The word in which
    // they differ is looked at again by bytes. Where there is nothing to compare, flags stay: "equal" from the beginning.
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

/// Whether so many bytes differ: 0 if they do not.
///
/// # Safety
///
/// As for `memcmp`.
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(left: *const u8, right: *const u8, len: usize) -> i32 {
    // SAFETY: the caller's.
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
                // What lies outside does not count.
                right[start + len] = 0xff;
                assert_eq!(compare(&right), (0, false), "{start} {len}");
                for index in start..start + len {
                    let mut right = left;
                    right[index] = 0xff;
                    // And what comes behind the first difference neither.
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
