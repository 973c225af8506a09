//! Readers of eight small formats, each with one bug that programs really have.
//!
//! The first byte of the input chooses the format. Each bug has an input that meets it. The functions stay functions,
//! so that the bugs have different backtraces. Nothing here knows of the machine: other fuzzers can compile it, too.

use core::hint::black_box;
use core::mem::MaybeUninit;

/// Reads the input in the format that its first byte chooses.
pub fn target(data: &[u8]) {
    let Some((format, data)) = data.split_first() else { return };
    let _ = black_box(match format {
        0 => trusted_length(data),
        1 => magic(data),
        2 => checksum(data),
        3 => index(data),
        4 => nested(data),
        5 => no_progress(data),
        6 => recursion(data),
        7 => overflow(data),
        _ => None,
    });
}

/// Takes a number of 16 bits, little-endian, off the front.
fn take_u16(data: &mut &[u8]) -> Option<u16> {
    let (bytes, rest) = data.split_first_chunk()?;
    *data = rest;
    Some(u16::from_le_bytes(*bytes))
}

/// Takes a number of 32 bits, little-endian, off the front.
fn take_u32(data: &mut &[u8]) -> Option<u32> {
    let (bytes, rest) = data.split_first_chunk()?;
    *data = rest;
    Some(u32::from_le_bytes(*bytes))
}

/// A record: the length of the body, the body, and a byte that ends it. Returns that byte.
///
/// The bug: the length is believed, and the byte is read where it would be. With `00 00 00 00 80`, that is 2 GiB behind
/// the input, where nothing is. A length that is a little too large reads what lies there, and nobody notices.
#[inline(never)]
fn trusted_length(mut data: &[u8]) -> Option<u32> {
    let len = take_u32(&mut data)? as usize;
    // SAFETY: there is none. It needs `len < data.len()`.
    Some(unsafe { *data.as_ptr().wrapping_add(len) }.into())
}

/// A file with a magic number of four bytes and a version. Returns the size of its header.
///
/// The bug: the version is believed to be one of those that exist. A fuzzer must guess all four bytes of the magic number
/// at once: they are compared as one number. `01 F L A T 03` meets it.
#[inline(never)]
fn magic(data: &[u8]) -> Option<u32> {
    match data.strip_prefix(b"FLAT")?.first()? {
        1 => Some(16),
        2 => Some(24),
        version => unreachable!("there is no version {version}"),
    }
}

/// A checksum, and a table that it is of: the number of columns, and their widths. Returns their width in total.
///
/// The bug: the number of columns is believed, because the checksum is right. It says that the table was not damaged, and
/// not that whoever wrote it meant well. `02 00 01 00 08 ff` and seven zeros meet it.
#[inline(never)]
fn checksum(mut data: &[u8]) -> Option<u32> {
    let expected = take_u32(&mut data)?;
    if data.len() < 8 || adler32(data) != expected {
        return None;
    }
    let columns = usize::from(data[0]);
    Some(data[1..][..columns].iter().map(|width| u32::from(*width)).sum())
}

/// The checksum of zlib (RFC 1950).
fn adler32(data: &[u8]) -> u32 {
    let (mut a, mut b) = (1, 0);
    for byte in data {
        a = (a + u32::from(*byte)) % 65521;
        b = (b + a) % 65521;
    }
    b << 16 | a
}

/// A date as FAT keeps it: five bits for the day, four for the month. Returns the day of the year.
///
/// The bug: four bits have room for 16 months. `03 a0 01` is in the 13th.
#[inline(never)]
fn index(mut data: &[u8]) -> Option<u32> {
    const BEFORE: [u16; 13] = [0, 0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let date = take_u16(&mut data)?;
    let (day, month) = (date & 31, date >> 5 & 15);
    Some((BEFORE[usize::from(month)] + day).into())
}

/// A book, in it a chapter, in it a page, in it a line, each as a letter, a length and what is in it. Returns the first
/// byte of the line.
///
/// The bug: a line may be empty. A fuzzer must build four elements in each other to come there. `04 B 06 C 04 P 02 L 00`
/// meets it.
#[inline(never)]
fn nested(data: &[u8]) -> Option<u32> {
    let book = element(b'B', data)?;
    let chapter = element(b'C', book)?;
    let page = element(b'P', chapter)?;
    let line = element(b'L', page)?;
    Some(line[0].into())
}

/// What is in an element that begins with this letter.
fn element(letter: u8, data: &[u8]) -> Option<&[u8]> {
    let [first, len, rest @ ..] = data else { return None };
    if *first != letter {
        return None;
    }
    rest.get(..usize::from(*len))
}

/// Chunks of a kind, a length and contents, and padding between them. Returns the number of chunks.
///
/// The bug: the length of padding counts its kind and its length, too. `05 ff 00` says that it is empty, and the loop is
/// at the same place for ever.
#[inline(never)]
fn no_progress(mut data: &[u8]) -> Option<u32> {
    const PADDING: u8 = 0xff;
    let mut chunks = 0;
    while let [kind, len, ..] = data {
        let len = usize::from(*len);
        if *kind == PADDING {
            data = data.get(len..)?;
        } else {
            data = data.get(2 + len..)?;
            chunks += 1;
        }
    }
    Some(chunks)
}

/// Text in brackets, which may be nested. Returns how much of it is inside.
///
/// The bug: each level takes 64 KiB of the stack, and there may be any number. `06` and 40 times `[` meet it where the
/// stack has 2 MiB; a stack of 8 MiB needs 160.
#[inline(never)]
fn recursion(mut data: &[u8]) -> Option<u32> {
    brackets(&mut data)
}

fn brackets(data: &mut &[u8]) -> Option<u32> {
    // Uninitialized: a level would execute more instructions to clear it than for all the rest.
    let mut line = [const { MaybeUninit::<u8>::uninit() }; 64 << 10];
    let mut len = 0;
    let mut inside = 0;
    while let Some((byte, rest)) = data.split_first() {
        *data = rest;
        match byte {
            b'[' => inside += brackets(data)?,
            b']' => break,
            _ => {
                line.get_mut(len)?.write(*byte);
                len += 1;
            }
        }
    }
    black_box(&line);
    Some(inside + len as u32)
}

/// A picture: its width, its height, and a byte for each pixel. Returns the first pixel of the last row.
///
/// The bug: the product of two numbers of 16 bits is one of 16 bits, too. `07 00 01 00 01` is a picture of 256 by 256.
/// Where overflow is not checked, the picture has no pixels.
#[inline(never)]
fn overflow(mut data: &[u8]) -> Option<u32> {
    let width = take_u16(&mut data)?;
    let height = take_u16(&mut data)?;
    if width == 0 || height == 0 || width > 2048 || height > 2048 {
        return None;
    }
    let pixels = data.get(..usize::from(width * height))?;
    Some(pixels[usize::from(width) * usize::from(height - 1)].into())
}
