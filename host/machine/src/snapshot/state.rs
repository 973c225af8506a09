//! A snapshot in a file: each part of a [`Snapshot`] in order, written and read.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::iter;

use flatland_contract::memory::PAGE_SIZE;
use flatland_x86::{MemoryMap, MemorySize, Position, RamCopy, Sent};

use super::{DeviceState, Snapshot};
use crate::FileError::Impossible;
use crate::file::blocks::{Reader, Writer};
use crate::file::values::{Result, Written, read_bool, read_count, read_width, write_bool, write_count};
use crate::file::{outcome, processor};

// Each of these limits is far above what there is. They bound what a small file can make of memory and time.

/// The most read-only ranges.
const MOST_RANGES: usize = 4096;
/// The most devices.
const MOST_DEVICES: usize = 1024;
/// The most bytes of all devices' states.
const MOST_DEVICE_BYTES: usize = 16 << 20;
/// The most transfers that are not sent yet.
const MOST_SENT: usize = 4096;
/// The most bytes of them, besides as many as RAM has: one instruction may send all of it.
const MOST_SENT_BYTES: usize = 1 << 20;

pub fn write<W: Write>(snapshot: &Snapshot, to: &mut Writer<W>) -> Written {
    let Snapshot { map, processor, position, ram, devices, unsent, next } = snapshot;
    write_map(map, to)?;
    processor::write(processor, to)?;
    write_position(position, to)?;
    outcome::write(next.as_ref(), to)?;
    write_devices(devices, to)?;
    write_unsent(unsent, map, to)?;
    write_ram(ram, to)
}

pub fn read<R: Read>(from: &mut Reader<R>) -> Result<Snapshot> {
    let map = read_map(from)?;
    Ok(Snapshot {
        processor: processor::read(from)?,
        position: read_position(from)?,
        next: outcome::read(from)?,
        devices: read_devices(from)?,
        unsent: read_unsent(&map, from)?,
        ram: read_ram(&map, from)?,
        map,
    })
}

const MAP: &str = "the memory map";

fn write_map<W: Write>(map: &MemoryMap, to: &mut Writer<W>) -> Written {
    to.u32(map.ram().bytes())?;
    to.u32(map.layout().stack_start)?;
    write_bool(map.has_guard(), to)?;
    write_count(map.read_only().len(), MOST_RANGES, "more read-only ranges of memory", to)?;
    for range in map.read_only() {
        to.u32(range.start)?;
        to.u32(range.end)?;
    }
    Ok(())
}

fn read_map<R: Read>(from: &mut Reader<R>) -> Result<MemoryMap> {
    let ram = MemorySize::from_bytes(from.u32()?.into()).map_err(|_| Impossible("the size of RAM"))?;
    let stack_start = from.u32()?;
    let has_guard = read_bool(MAP, from)?;
    let count = read_count(MOST_RANGES, MAP, from)?;
    let read_only = (0..count).map(|_| Ok(from.u32()?..from.u32()?)).collect::<Result<_>>()?;
    MemoryMap::from_fields(ram, stack_start, read_only, has_guard).ok_or(Impossible(MAP))
}

fn write_position<W: Write>(position: &Position, to: &mut Writer<W>) -> Written {
    let Position { location, was_reported } = position;
    outcome::write_location(*location, to)?;
    write_bool(*was_reported, to)
}

fn read_position<R: Read>(from: &mut Reader<R>) -> Result<Position> {
    Ok(Position { location: outcome::read_location(from)?, was_reported: read_bool("the position", from)? })
}

const DEVICES: &str = "the devices";

fn write_devices<W: Write>(devices: &[DeviceState], to: &mut Writer<W>) -> Written {
    write_count(devices.len(), MOST_DEVICES, "more devices", to)?;
    let mut left = MOST_DEVICE_BYTES;
    for DeviceState { ports, state } in devices {
        to.u32(ports.start)?;
        to.u32(ports.end)?;
        write_count(state.len(), left, "larger states of devices", to)?;
        left -= state.len();
        to.bytes(state)?;
    }
    Ok(())
}

fn read_devices<R: Read>(from: &mut Reader<R>) -> Result<Vec<DeviceState>> {
    const PORTS: u32 = 1 << 16;
    let mut left = MOST_DEVICE_BYTES;
    let count = read_count(MOST_DEVICES, DEVICES, from)?;
    let device = |_| {
        let ports = from.u32()?..from.u32()?;
        if ports.start > ports.end || ports.end > PORTS {
            return Err(Impossible(DEVICES));
        }
        let len = read_count(left, DEVICES, from)?;
        left -= len;
        Ok(DeviceState { ports, state: from.vec(len)? })
    };
    (0..count).map(device).collect()
}

const UNSENT: &str = "the output that is not sent yet";

/// The most bytes of output that is not sent yet, on a machine with this memory.
fn most_sent(map: &MemoryMap) -> usize {
    map.ram().bytes() as usize + MOST_SENT_BYTES
}

fn write_unsent<W: Write>(unsent: &VecDeque<Sent>, map: &MemoryMap, to: &mut Writer<W>) -> Written {
    write_count(unsent.len(), MOST_SENT, "more output that is not sent yet", to)?;
    let mut left = most_sent(map);
    for Sent { port, width, data } in unsent {
        to.u16(*port)?;
        to.u8(*width)?;
        write_count(data.len(), left, "more output that is not sent yet", to)?;
        left -= data.len();
        to.bytes(data)?;
    }
    Ok(())
}

fn read_unsent<R: Read>(map: &MemoryMap, from: &mut Reader<R>) -> Result<VecDeque<Sent>> {
    let mut left = most_sent(map);
    let count = read_count(MOST_SENT, UNSENT, from)?;
    let sent = |_| {
        let (port, width) = (from.u16()?, read_width(UNSENT, from)?);
        let len = read_count(left, UNSENT, from)?;
        left -= len;
        // Whole transfers, at least one: see `Exit::Out`.
        if len == 0 || !len.is_multiple_of(width.into()) {
            return Err(Impossible(UNSENT));
        }
        Ok(Sent { port, width, data: from.vec(len)? })
    };
    (0..count).map(sent).collect()
}

fn write_ram<W: Write>(ram: &RamCopy, to: &mut Writer<W>) -> Written {
    // RAM has fewer than 2^20 pages.
    to.u32(ram.pages().count() as u32)?;
    for (number, page) in ram.pages() {
        to.u32(number)?;
        to.bytes(page)?;
    }
    Ok(())
}

fn read_ram<R: Read>(map: &MemoryMap, from: &mut Reader<R>) -> Result<RamCopy> {
    let count = from.u32()?;
    let mut free = 0..map.ram().bytes() / PAGE_SIZE;
    let mut page = || {
        let number = from.u32()?;
        let mut page = RamCopy::ZEROS;
        from.fill(&mut page)?;
        // In order, each once, and none that would be left out.
        if !free.contains(&number) || page == RamCopy::ZEROS {
            return Err(Impossible("the pages of RAM"));
        }
        free.start = number + 1;
        Ok((number, page))
    };
    let mut result = Ok(());
    let pages = iter::repeat_with(|| page().map_err(|error| result = Err(error)).ok());
    let ram = RamCopy::from_pages(pages.take(count as usize).map_while(|page| page));
    result.map(|()| ram)
}
