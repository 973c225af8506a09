//! The smallest machine monitor that does something: about a hundred lines on the kernel's own interface.
//!
//! `echo -n abc | cargo run --package flatland-vmm --example tiny`
//!
//! It starts a guest at address 0 in 32-bit protected mode with paging off. All that the guest can do is compute,
//! read a byte from a port and write a byte to it. This one sends each byte of standard input back, plus one, until
//! it has read 42 (`*`). ARCHITECTURE.md continues from here to Flatland itself.

use std::error::Error;
use std::io::{self, Read, Write};
use std::num::NonZeroUsize;

use kvm_bindings::{kvm_segment, kvm_userspace_memory_region};
use kvm_ioctls::{Kvm, VcpuExit};
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};

/// All of the guest's memory.
const RAM_SIZE: usize = 64 << 10;

/// The guest, as a flat binary: the first byte is the first instruction.
#[rustfmt::skip]
const GUEST: &[u8] = &[
    0xe4, 0xe9, // 0: in al, 0xe9     wait for a byte
    0x3c, 42,   // 2: cmp al, 42
    0x74, 0x06, // 4: je 0xc
    0xfe, 0xc0, // 6: inc al
    0xe6, 0xe9, // 8: out 0xe9, al    send it back, plus one
    0xeb, 0xf4, // a: jmp 0
    0xf4,       // c: hlt
];

fn main() -> Result<(), Box<dyn Error>> {
    // A virtual machine is a file descriptor, and ioctls control it (KVM API 4.2).
    let kvm = Kvm::new().map_err(|error| format!("cannot open /dev/kvm ({error}): see README.md"))?;
    let vm = kvm.create_vm()?;

    // The guest's memory is a part of this process's memory. The guest sees it at address 0 (KVM API 4.35).
    let size = NonZeroUsize::new(RAM_SIZE).expect("it is not 0");
    let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: a new mapping, at an address of the kernel's choice, does not change any other mapping.
    let ram = unsafe { mmap_anonymous(None, size, protection, MapFlags::MAP_PRIVATE) }?;
    // SAFETY: the mapping is longer than the guest's code, and nothing else refers to it.
    unsafe { ram.cast::<u8>().as_ptr().copy_from_nonoverlapping(GUEST.as_ptr(), GUEST.len()) };
    let region = kvm_userspace_memory_region {
        slot: 0,
        flags: 0,
        guest_phys_addr: 0,
        memory_size: RAM_SIZE as u64,
        userspace_addr: ram.as_ptr() as u64,
    };
    // SAFETY: the memory stays mapped until the process ends.
    unsafe { vm.set_user_memory_region(region) }?;

    // A processor is also a file descriptor. It begins as a real one does after a reset, in 16-bit real mode. This is
    // 32-bit protected mode: a bit in CR0, and segments that begin at 0 and hold all 4 GiB (SDM volume 3, section
    // 3.4.5).
    let mut processor = vm.create_vcpu(0)?;
    let mut special = processor.get_sregs()?;
    let data = kvm_segment {
        base: 0,
        limit: u32::MAX,
        selector: 2 << 3,
        type_: 0b0011, // read and write, accessed
        present: 1,
        db: 1, // 32 bits
        s: 1,  // code or data
        g: 1,  // the limit counts pages
        ..Default::default()
    };
    special.cs =
        kvm_segment { selector: 1 << 3, type_: 0b1011 /* execute and read, accessed */, ..data };
    (special.ds, special.es, special.ss) = (data, data, data);
    special.cr0 |= 1; // PE, protection enable
    processor.set_sregs(&special)?;
    let mut registers = processor.get_regs()?;
    registers.rip = 0;
    registers.rsp = RAM_SIZE as u64;
    registers.rflags = 1 << 1; // this bit is always set
    processor.set_regs(&registers)?;

    // The processor runs until the guest does something that only this program can do: an exit (KVM API 4.10).
    let mut input = io::stdin().lock();
    let mut output = io::stdout().lock();
    loop {
        match processor.run()? {
            VcpuExit::IoIn(0xe9, data) => {
                output.flush()?;
                if input.read(data)? == 0 {
                    return Ok(());
                }
            }
            VcpuExit::IoOut(0xe9, data) => output.write_all(data)?,
            VcpuExit::Hlt => return Ok(()),
            other => return Err(format!("the guest did something unexpected: {other:?}").into()),
        }
    }
}
