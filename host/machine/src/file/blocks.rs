//! The body of a snapshot file: a stream of bytes in compressed blocks with checksums.
//!
//! A block is three u32 and the compressed bytes: how many bytes it holds (at most [`BLOCK`]), how many they are
//! compressed, these, and the CRC-32 of all of the file up to here. So a block is checked before it is decompressed, and
//! one that is missing or at another place is found. A block that holds nothing is the end.

use std::io::{self, Read, Write};

use crc32fast::Hasher;
use lz4_flex::block::{compress_into, decompress_into, get_maximum_output_size};

use super::FileError::{self, Damaged, Impossible, Read as CannotRead, Truncated, Write as CannotWrite};

/// The most bytes in a block.
const BLOCK: usize = 64 << 10;

/// Writes bytes and integers to blocks.
pub struct Writer<W> {
    to: W,
    /// Of all that has been written.
    sum: Hasher,
    block: Vec<u8>,
}

impl<W: Write> Writer<W> {
    pub fn new(to: W) -> Self {
        Self { to, sum: Hasher::new(), block: Vec::with_capacity(BLOCK) }
    }

    /// Writes bytes outside of blocks, before the first one.
    pub fn plain(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        self.sum.update(bytes);
        self.to.write_all(bytes).map_err(CannotWrite)
    }

    pub fn bytes(&mut self, mut bytes: &[u8]) -> Result<(), FileError> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK - self.block.len()));
            self.block.extend_from_slice(now);
            bytes = later;
            if self.block.len() == BLOCK {
                self.write_block()?;
            }
        }
        Ok(())
    }

    pub fn u8(&mut self, value: u8) -> Result<(), FileError> {
        self.bytes(&[value])
    }

    pub fn u16(&mut self, value: u16) -> Result<(), FileError> {
        self.bytes(&value.to_le_bytes())
    }

    pub fn u32(&mut self, value: u32) -> Result<(), FileError> {
        self.bytes(&value.to_le_bytes())
    }

    pub fn u64(&mut self, value: u64) -> Result<(), FileError> {
        self.bytes(&value.to_le_bytes())
    }

    /// Writes the last block and the end.
    pub fn finish(mut self) -> Result<(), FileError> {
        if !self.block.is_empty() {
            self.write_block()?;
        }
        self.write_block()?;
        self.to.flush().map_err(CannotWrite)
    }

    fn write_block(&mut self) -> Result<(), FileError> {
        let mut packed = vec![0; get_maximum_output_size(self.block.len())];
        let len = match self.block.is_empty() {
            true => 0,
            false => compress_into(&self.block, &mut packed).expect("the output has the maximum size"),
        };
        // Both are at most a little more than `BLOCK`.
        self.plain(&(self.block.len() as u32).to_le_bytes())?;
        self.plain(&(len as u32).to_le_bytes())?;
        self.plain(&packed[..len])?;
        let sum = self.sum.clone().finalize();
        self.plain(&sum.to_le_bytes())?;
        self.block.clear();
        Ok(())
    }
}

/// Reads bytes and integers from blocks.
pub struct Reader<R> {
    from: R,
    /// Of all that has been read.
    sum: Hasher,
    block: Vec<u8>,
    /// How many bytes of the block have been taken.
    taken: usize,
    packed: Vec<u8>,
}

impl<R: Read> Reader<R> {
    pub fn new(from: R) -> Self {
        Self { from, sum: Hasher::new(), block: Vec::new(), taken: 0, packed: Vec::new() }
    }

    /// Reads bytes outside of blocks.
    pub fn plain(&mut self, bytes: &mut [u8]) -> Result<(), FileError> {
        self.from.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Truncated,
            _ => CannotRead(error),
        })?;
        self.sum.update(bytes);
        Ok(())
    }

    fn plain_u32(&mut self) -> Result<u32, FileError> {
        let mut bytes = [0; 4];
        self.plain(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// Reads the next block. At the end it is empty.
    fn read_block(&mut self) -> Result<(), FileError> {
        let (len, packed_len) = (self.plain_u32()? as usize, self.plain_u32()? as usize);
        if len > BLOCK || packed_len > get_maximum_output_size(BLOCK) {
            return Err(Damaged);
        }
        let mut packed = std::mem::take(&mut self.packed);
        packed.resize(packed_len, 0);
        self.plain(&mut packed)?;
        let sum = self.sum.clone().finalize();
        if self.plain_u32()? != sum {
            return Err(Damaged);
        }
        self.block.resize(len, 0);
        self.taken = 0;
        let is_end = len == 0 && packed_len == 0;
        if !is_end && decompress_into(&packed, &mut self.block).ok() != Some(len) {
            return Err(Impossible("the compressed data"));
        }
        self.packed = packed;
        Ok(())
    }

    /// Takes up to this many bytes, at least one, as they are in the block.
    fn take(&mut self, most: usize) -> Result<&[u8], FileError> {
        if self.taken == self.block.len() {
            self.read_block()?;
            if self.block.is_empty() {
                return Err(Impossible("the end"));
            }
        }
        let rest = &self.block[self.taken..];
        let taken = &rest[..rest.len().min(most)];
        self.taken += taken.len();
        Ok(taken)
    }

    pub fn fill(&mut self, bytes: &mut [u8]) -> Result<(), FileError> {
        let mut filled = 0;
        while filled < bytes.len() {
            let taken = self.take(bytes.len() - filled)?;
            bytes[filled..filled + taken.len()].copy_from_slice(taken);
            filled += taken.len();
        }
        Ok(())
    }

    /// Reads this many bytes. The memory for them grows as they arrive.
    pub fn vec(&mut self, len: usize) -> Result<Vec<u8>, FileError> {
        let mut bytes = Vec::new();
        while bytes.len() < len {
            let left = len - bytes.len();
            let taken = self.take(left)?;
            if bytes.capacity() - bytes.len() < taken.len() {
                bytes.reserve_exact((bytes.len() / 8).max(taken.len()).min(left));
            }
            bytes.extend_from_slice(taken);
        }
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FileError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    pub fn u8(&mut self) -> Result<u8, FileError> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub fn u16(&mut self) -> Result<u16, FileError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub fn u32(&mut self) -> Result<u32, FileError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub fn u64(&mut self) -> Result<u64, FileError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// Checks that this is the end of the body, and of the file.
    pub fn finish(mut self) -> Result<(), FileError> {
        self.check_end()?;
        match self.plain(&mut [0]) {
            Err(Truncated) => Ok(()),
            Ok(()) => Err(Damaged),
            Err(error) => Err(error),
        }
    }

    /// Checks that this is the end of the body. Something else follows in the file.
    pub fn end_of_section(mut self) -> Result<R, FileError> {
        self.check_end()?;
        Ok(self.from)
    }

    fn check_end(&mut self) -> Result<(), FileError> {
        if self.taken == self.block.len() {
            self.read_block()?;
        }
        if self.block.is_empty() { Ok(()) } else { Err(Impossible("the end")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(pieces: &[&[u8]]) -> Vec<u8> {
        let mut file = Vec::new();
        let mut writer = Writer::new(&mut file);
        pieces.iter().for_each(|piece| writer.bytes(piece).unwrap());
        writer.finish().unwrap();
        file
    }

    #[test]
    fn bytes_survive_in_blocks_of_any_fill() {
        for len in [0, 1, 4095, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK] {
            // Some that can be compressed, and some that cannot.
            let bytes: Vec<u8> = (0..len as u32)
                .map(|n| (n.wrapping_mul(n / 4096).wrapping_mul(0x9e37_79b9) >> 24) as u8)
                .collect();
            let file = written(&[&[7; 3], &bytes]);
            let mut reader = Reader::new(&file[..]);
            assert_eq!(reader.array().unwrap(), [7; 3]);
            assert_eq!(reader.vec(len).unwrap(), bytes);
            reader.finish().unwrap();
        }
    }

    #[test]
    fn no_length_is_trusted_before_bytes_have_arrived() {
        let file = written(&[b"abc"]);
        let mut reader = Reader::new(&file[..]);
        assert!(matches!(reader.vec(usize::MAX), Err(Impossible("the end"))));
    }

    #[test]
    fn what_follows_is_found() {
        let mut file = written(&[b"abc"]);
        let mut reader = Reader::new(&file[..]);
        reader.vec(2).unwrap();
        assert!(matches!(reader.finish(), Err(Impossible("the end"))));
        file.push(0);
        let mut reader = Reader::new(&file[..]);
        reader.vec(3).unwrap();
        assert!(matches!(reader.finish(), Err(Damaged)));
    }

    #[test]
    fn blocks_have_an_order() {
        let file = written(&[&[1; BLOCK], &[2; BLOCK]]);
        let len = 12 + u32::from_le_bytes(*file[4..].first_chunk().unwrap()) as usize;
        let swapped = [&file[len..2 * len], &file[..len], &file[2 * len..]].concat();
        let dropped = &file[len..];
        for wrong in [&swapped[..], dropped] {
            assert!(matches!(Reader::new(wrong).vec(BLOCK), Err(Damaged)));
        }
    }
}
