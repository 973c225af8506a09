//! The bus: maps ports to devices.

use std::any::Any;
use std::fmt;
use std::ops::Range;

use flatland_contract::Port;

use crate::snapshot::DeviceState;
use crate::{Device, Host, Unfinished, devices};

/// All devices of a machine.
#[derive(Default)]
pub(crate) struct Bus {
    /// In the order in which they were added.
    slots: Vec<Slot>,
    /// The slot that was used last. Consecutive transfers are mostly at the same device.
    last: usize,
}

struct Slot {
    ports: Range<u32>,
    device: Box<dyn Device>,
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_list().entries(self.slots.iter().map(|slot| &slot.ports)).finish()
    }
}

/// A device cannot be added at this port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Another device has this port.
    Port(u16),
    /// The device would need ports above 0xffff.
    OutOfRange(u16),
}

impl Bus {
    /// Adds a device at `first` and the ports after it, as many as the device has.
    pub fn add(&mut self, first: u16, device: Box<dyn Device>) -> Result<(), Taken> {
        let ports = u32::from(first)..u32::from(first) + u32::from(device.ports());
        if ports.end > u32::from(u16::MAX) + 1 {
            return Err(Taken::OutOfRange(first));
        }
        for slot in &self.slots {
            let common = ports.start.max(slot.ports.start)..ports.end.min(slot.ports.end);
            if !common.is_empty() {
                return Err(Taken::Port(common.start as u16));
            }
        }
        self.slots.push(Slot { ports, device });
        Ok(())
    }

    /// Adds a device that takes all for each of these that is not here. Its reads are answered by a recording.
    pub fn stand_in_for(&mut self, devices: &[DeviceState]) {
        for DeviceState { ports, .. } in devices {
            let count = (ports.end - ports.start) as u16;
            let _ = self.add(ports.start as u16, Box::new(devices::StandIn(count)));
        }
    }

    /// Replaces the device at a port of the contract.
    pub fn replace(&mut self, port: Port, device: impl Device) {
        let number = u32::from(port.number());
        let slot = Slot { ports: number..number + 1, device: Box::new(device) };
        match self.slots.iter_mut().find(|other| other.ports == slot.ports) {
            Some(other) => *other = slot,
            None => self.slots.push(slot),
        }
    }

    /// The first device of this type.
    pub fn device<T: Device>(&mut self) -> Option<&mut T> {
        self.slots.iter_mut().find_map(|slot| {
            let device: &mut dyn Any = &mut *slot.device;
            device.downcast_mut()
        })
    }

    fn find(&mut self, port: u16) -> Option<(u16, &mut dyn Device)> {
        let number = u32::from(port);
        if !self.slots.get(self.last).is_some_and(|slot| slot.ports.contains(&number)) {
            self.last = self.slots.iter().position(|slot| slot.ports.contains(&number))?;
        }
        let Slot { ports, device } = &mut self.slots[self.last];
        Some(((number - ports.start) as u16, &mut **device))
    }

    /// The guest reads all of `data` at a port, in transfers of `width` bytes.
    pub fn read(&mut self, port: u16, width: u8, data: &mut [u8], host: &mut Host) -> Result<(), Unfinished> {
        match self.find(port) {
            Some((offset, device)) if device.takes_width(offset, width) => {
                host.streams.input.mark();
                let result = device.read_bytes(offset, data, host);
                put_back_unless_made(&result, host);
                result
            }
            _ => Err(Unfinished::Unsupported),
        }
    }

    /// The guest writes `data` to a port, in transfers of `width` bytes.
    pub fn write(&mut self, port: u16, width: u8, data: &[u8], host: &mut Host) -> Result<(), Unfinished> {
        match self.find(port) {
            Some((offset, device)) if device.takes_width(offset, width) => {
                host.streams.input.mark();
                let result = device.write_bytes(offset, data, host);
                put_back_unless_made(&result, host);
                result
            }
            _ => Err(Unfinished::Unsupported),
        }
    }

    /// Whether a device takes transfers of this width at a port.
    pub fn takes(&mut self, port: u16, width: u8) -> bool {
        self.find(port).is_some_and(|(offset, device)| device.takes_width(offset, width))
    }

    /// Whether a device may still raise an interrupt.
    pub fn may_raise(&self) -> bool {
        self.slots.iter().any(|slot| slot.device.may_raise())
    }

    /// Resets all devices, when a run begins.
    pub fn reset(&mut self) {
        self.slots.iter_mut().for_each(|slot| slot.device.reset());
    }

    /// The state of each device.
    pub fn save(&self) -> Vec<DeviceState> {
        let save = |slot: &Slot| DeviceState { ports: slot.ports.clone(), state: slot.device.save() };
        self.slots.iter().map(save).collect()
    }

    /// Restores the states. Those of other ports are ignored.
    pub fn restore(&mut self, states: &[DeviceState]) {
        for slot in &mut self.slots {
            if let Some(saved) = states.iter().find(|saved| saved.ports == slot.ports) {
                slot.device.restore(&saved.state);
            }
        }
    }
}

/// A transfer that will be made again reads the same input again.
fn put_back_unless_made(result: &Result<(), Unfinished>, host: &mut Host) {
    if let Err(Unfinished::Interrupted | Unfinished::InputWanted) = result {
        host.streams.input.put_back();
    }
}
