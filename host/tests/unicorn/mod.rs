//! Bindings to Unicorn, QEMU's translator as a library (unicorn.h and x86.h of version 2).
//!
//! The library is loaded when it is first used, so everything builds without it.

// The benchmark and the tests each use a part of this.
#![allow(dead_code)]

use std::ffi::{c_int, c_void};
use std::sync::LazyLock;

use flatland::x86::Registers;
use libloading::Library;

const ARCH_X86: c_int = 4;
const MODE_32: c_int = 1 << 2;
const READ: u32 = 1;
const ALL: u32 = 7;

/// The kinds of hooks.
mod hook {
    use std::ffi::c_int;

    pub const INTERRUPT: c_int = 1 << 0;
    pub const INSTRUCTION: c_int = 1 << 1;
    pub const CODE: c_int = 1 << 2;
    /// Reads, writes and fetches of memory that is not mapped, or that does not allow them.
    pub const MEMORY: c_int = 0b11_1111 << 4;
    pub const INVALID_INSTRUCTION: c_int = 1 << 14;
    pub const IN: c_int = 218;
    pub const OUT: c_int = 500;
}

/// Registers' numbers.
mod register {
    use std::ffi::c_int;

    /// In the order of [`Registers`](super::Registers).
    pub const GENERAL: [c_int; 10] = [19, 21, 22, 24, 29, 23, 20, 30, 26, 25];
    pub const CS: c_int = 11;
    pub const SS: c_int = 49;
    /// DS, ES, FS, GS.
    pub const DATA_SEGMENTS: [c_int; 4] = [17, 28, 32, 33];
    pub const GDTR: c_int = 243;
    pub const LDTR: c_int = 244;
}

type Callback = *const c_void;

/// The library's functions.
struct Api {
    open: unsafe extern "C" fn(c_int, c_int, *mut *mut c_void) -> c_int,
    close: unsafe extern "C" fn(*mut c_void) -> c_int,
    map: unsafe extern "C" fn(*mut c_void, u64, usize, u32) -> c_int,
    write: unsafe extern "C" fn(*mut c_void, u64, *const c_void, usize) -> c_int,
    read: unsafe extern "C" fn(*mut c_void, u64, *mut c_void, usize) -> c_int,
    write_register: unsafe extern "C" fn(*mut c_void, c_int, *const c_void) -> c_int,
    read_register: unsafe extern "C" fn(*mut c_void, c_int, *mut c_void) -> c_int,
    start: unsafe extern "C" fn(*mut c_void, u64, u64, u64, usize) -> c_int,
    stop: unsafe extern "C" fn(*mut c_void) -> c_int,
    add_hook:
        unsafe extern "C" fn(*mut c_void, *mut usize, c_int, Callback, *mut c_void, u64, u64, ...) -> c_int,
    delete_hook: unsafe extern "C" fn(*mut c_void, usize) -> c_int,
    /// Keeps the library loaded, because the functions are in it.
    _library: Library,
}

static API: LazyLock<Result<Api, libloading::Error>> = LazyLock::new(|| {
    // SAFETY: it is the library of this name and version, whose initialization has no preconditions.
    let library = unsafe { Library::new("libunicorn.so.2") }?;
    macro_rules! function {
        ($name:literal) => {{
            // SAFETY: the types are those of unicorn.h, and the library stays loaded.
            *unsafe { library.get($name) }?
        }};
    }
    Ok(Api {
        open: function!("uc_open"),
        close: function!("uc_close"),
        map: function!("uc_mem_map"),
        write: function!("uc_mem_write"),
        read: function!("uc_mem_read"),
        write_register: function!("uc_reg_write"),
        read_register: function!("uc_reg_read"),
        start: function!("uc_emu_start"),
        stop: function!("uc_emu_stop"),
        add_hook: function!("uc_hook_add"),
        delete_hook: function!("uc_hook_del"),
        _library: library,
    })
});

/// GDTR or LDTR, as they are written (`uc_x86_mmr`).
#[repr(C)]
struct TableRegister {
    selector: u16,
    base: u64,
    limit: u32,
    flags: u32,
}

/// A processor with RAM from address 0.
pub struct Unicorn {
    api: &'static Api,
    handle: *mut c_void,
}

/// The devices at the ports.
pub trait Ports {
    fn input(&mut self, port: u16, width: u8) -> u32;
    fn output(&mut self, port: u16, width: u8, value: u32);
}

/// Why it stopped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stop {
    Halt,
    /// An exception or an `int n`. Unicorn does not distinguish them.
    Interrupt(u32),
    InvalidInstruction,
    Memory {
        access: MemoryAccess,
        address: u32,
    },
    /// It has reached the limit of instructions.
    Endless,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MemoryAccess {
    Read,
    Write,
    Fetch,
}

/// The data of a run's hooks.
struct Context<'a, P> {
    stop_function: unsafe extern "C" fn(*mut c_void) -> c_int,
    ports: &'a mut P,
    instructions_left: u64,
    stop: Option<Stop>,
}

impl Unicorn {
    /// Makes one with this much RAM, and this GDT at this address. The GDT's first descriptor after the null one is
    /// code, the second is data. LDTR is as after a reset. An error says what is missing.
    pub fn new(ram_size: usize, gdt_address: u64, gdt: &[u64]) -> Result<Self, String> {
        const PAGE: usize = 4096;
        let api = API
            .as_ref()
            .map_err(|error| format!("there is no Unicorn here ({error}): `apt install libunicorn2`"))?;
        let mut handle = std::ptr::null_mut();
        // SAFETY: the handle is written to a place for one.
        check("uc_open", unsafe { (api.open)(ARCH_X86, MODE_32, &raw mut handle) });
        let mut unicorn = Self { api, handle };
        unicorn.map(0, ram_size, ALL);
        unicorn.map(gdt_address, PAGE, READ);
        let descriptors: Vec<u8> = gdt.iter().flat_map(|descriptor| descriptor.to_le_bytes()).collect();
        unicorn.write(gdt_address, &descriptors);
        let limit = descriptors.len() as u32 - 1;
        let gdtr = TableRegister { selector: 0, base: gdt_address, limit, flags: 0 };
        unicorn.write_register(register::GDTR, &gdtr);
        // Present, an LDT, at 0 (SDM volume 3, table 11-1).
        let ldtr = TableRegister { selector: 0, base: 0, limit: 0xffff, flags: 0x8200 };
        unicorn.write_register(register::LDTR, &ldtr);
        unicorn.write_register(register::CS, &8_u64);
        unicorn.write_register(register::SS, &16_u64);
        for segment in register::DATA_SEGMENTS {
            unicorn.write_register(segment, &16_u64);
        }
        Ok(unicorn)
    }

    fn map(&mut self, address: u64, size: usize, protection: u32) {
        // SAFETY: the handle is open; the library makes the memory itself.
        check("uc_mem_map", unsafe { (self.api.map)(self.handle, address, size, protection) });
    }

    /// Writes mapped memory.
    pub fn write(&mut self, address: u64, bytes: &[u8]) {
        // SAFETY: the handle is open, and the length is that of `bytes`.
        let error = unsafe { (self.api.write)(self.handle, address, bytes.as_ptr().cast(), bytes.len()) };
        check("uc_mem_write", error);
    }

    /// Reads mapped memory.
    pub fn read(&self, address: u64, bytes: &mut [u8]) {
        // SAFETY: the handle is open, and `bytes` has room for that length.
        let error = unsafe { (self.api.read)(self.handle, address, bytes.as_mut_ptr().cast(), bytes.len()) };
        check("uc_mem_read", error);
    }

    /// `T` is what the library takes for this register, or larger.
    fn write_register<T>(&mut self, register: c_int, value: &T) {
        // SAFETY: the handle is open, and the library reads no more than a `T`.
        check("uc_reg_write", unsafe {
            (self.api.write_register)(self.handle, register, (&raw const *value).cast())
        });
    }

    pub fn set_registers(&mut self, registers: &Registers) {
        let &Registers { eax, ebx, ecx, edx, esi, edi, ebp, esp, eip, eflags } = registers;
        let values = [eax, ebx, ecx, edx, esi, edi, ebp, esp, eip, eflags];
        for (register, value) in register::GENERAL.into_iter().zip(values) {
            self.write_register(register, &u64::from(value));
        }
    }

    pub fn registers(&self) -> Registers {
        let [eax, ebx, ecx, edx, esi, edi, ebp, esp, eip, eflags] = register::GENERAL.map(|register| {
            let mut value = 0_u64;
            // SAFETY: the handle is open, and a 32-bit register fits in `value`.
            check("uc_reg_read", unsafe {
                (self.api.read_register)(self.handle, register, (&raw mut value).cast())
            });
            value as u32
        });
        Registers { eax, ebx, ecx, edx, esi, edi, ebp, esp, eip, eflags }
    }

    /// Runs from EIP on until something stops it. With a limit of instructions, each iteration of a repeated one
    /// counts, the registers are exact when an access stops it, and the run is slow.
    pub fn run<P: Ports>(&mut self, ports: &mut P, limit: Option<u64>) -> Stop {
        let instructions_left = limit.unwrap_or(0);
        let mut context = Context { stop_function: self.api.stop, ports, instructions_left, stop: None };
        let for_hooks = &raw mut context;
        let mut hooks = vec![
            (hook::INTERRUPT, interrupt::<P> as Callback, 0),
            (hook::INVALID_INSTRUCTION, invalid_instruction::<P> as Callback, 0),
            (hook::MEMORY, memory::<P> as Callback, 0),
            (hook::INSTRUCTION, input::<P> as Callback, hook::IN),
            (hook::INSTRUCTION, output::<P> as Callback, hook::OUT),
        ];
        if limit.is_some() {
            hooks.push((hook::CODE, code::<P> as Callback, 0));
        }
        let hooks: Vec<usize> = hooks
            .into_iter()
            .map(|(kind, callback, instruction)| {
                let mut id = 0;
                // SAFETY: the handle is open, each function has the type that unicorn.h has for this kind of hook,
                // and its data lives until the hook is deleted. An empty range means all of memory.
                let error = unsafe {
                    (self.api.add_hook)(
                        self.handle,
                        &raw mut id,
                        kind,
                        callback,
                        for_hooks.cast(),
                        1,
                        0,
                        instruction,
                    )
                };
                check("uc_hook_add", error);
                id
            })
            .collect();
        const NEVER: u64 = 1 << 32;
        let eip = self.registers().eip.into();
        // SAFETY: the handle is open. The error repeats what hooks have recorded.
        let error = unsafe { (self.api.start)(self.handle, eip, NEVER, 0, 0) };
        for id in hooks {
            // SAFETY: the handle is open, and this is one of its hooks.
            check("uc_hook_del", unsafe { (self.api.delete_hook)(self.handle, id) });
        }
        match context.stop {
            Some(stop) => stop,
            None if error == 0 => Stop::Halt,
            None => panic!("uc_emu_start failed ({error}) and no hook was told why"),
        }
    }
}

impl Drop for Unicorn {
    fn drop(&mut self) {
        // SAFETY: the handle is open, and is not used after this.
        unsafe { (self.api.close)(self.handle) };
    }
}

fn check(call: &str, error: c_int) {
    assert_eq!(error, 0, "{call} failed");
}

/// The data that a hook was given.
///
/// # Safety
///
/// `data` is what [`Unicorn::run`] gave to `uc_hook_add`, and nothing else refers to it.
unsafe fn context<'a, P>(data: *mut c_void) -> &'a mut Context<'a, P> {
    // SAFETY: the caller guarantees it.
    unsafe { &mut *data.cast() }
}

impl<P> Context<'_, P> {
    fn stop(&mut self, handle: *mut c_void, stop: Stop) {
        self.stop.get_or_insert(stop);
        // SAFETY: hooks are called while the handle is open.
        unsafe { (self.stop_function)(handle) };
    }
}

extern "C" fn interrupt<P>(handle: *mut c_void, number: u32, data: *mut c_void) {
    // SAFETY: this is called as a hook.
    unsafe { context::<P>(data) }.stop(handle, Stop::Interrupt(number));
}

extern "C" fn invalid_instruction<P>(handle: *mut c_void, data: *mut c_void) -> bool {
    // SAFETY: this is called as a hook.
    unsafe { context::<P>(data) }.stop(handle, Stop::InvalidInstruction);
    false
}

extern "C" fn memory<P>(
    handle: *mut c_void,
    kind: c_int,
    address: u64,
    _size: c_int,
    _value: i64,
    data: *mut c_void,
) -> bool {
    // The order of `uc_mem_type`: read, write and fetch of memory that is not mapped; then write, read and fetch that
    // are not allowed.
    let access = match kind {
        19 | 23 => MemoryAccess::Read,
        20 | 22 => MemoryAccess::Write,
        _ => MemoryAccess::Fetch,
    };
    // SAFETY: this is called as a hook.
    let context = unsafe { context::<P>(data) };
    context.stop(handle, Stop::Memory { access, address: address as u32 });
    false
}

extern "C" fn code<P>(handle: *mut c_void, _address: u64, _size: u32, data: *mut c_void) {
    // SAFETY: this is called as a hook.
    let context = unsafe { context::<P>(data) };
    match context.instructions_left.checked_sub(1) {
        Some(left) => context.instructions_left = left,
        None => context.stop(handle, Stop::Endless),
    }
}

extern "C" fn input<P: Ports>(_handle: *mut c_void, port: u32, width: c_int, data: *mut c_void) -> u32 {
    // SAFETY: this is called as a hook.
    unsafe { context::<P>(data) }.ports.input(port as u16, width as u8)
}

extern "C" fn output<P: Ports>(_handle: *mut c_void, port: u32, width: c_int, value: u32, data: *mut c_void) {
    // SAFETY: this is called as a hook.
    unsafe { context::<P>(data) }.ports.output(port as u16, width as u8, value);
}
