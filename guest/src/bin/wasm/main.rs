//! Runs a WebAssembly module from its input, with the interpreter `wasmi`.
//!
//! `cargo xtask run wasm -- FUNCTION ARGUMENTS <MODULE.wasm` calls the exported function of this name and prints what
//! it returns. A module may import `flatland.write`, which sends bytes of its memory to standard output. Floats are
//! computed in software. `--trace spans` shows how long it takes to load, link and call.

#![no_std]
#![no_main]

mod value;

use core::error::Error;

use flatland_guest::io::Read;
use flatland_guest::prelude::*;
use flatland_guest::process::ExitCode;
use flatland_guest::{console, entry, env, io, span};
use wasmi::{Caller, Engine, Extern, Linker, Module, Store, Val};

entry!(main);

fn main() -> ExitCode {
    match run() {
        Ok(results) => {
            results.iter().for_each(|result| println!("{}", value::Shown(result)));
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("wasm: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<Vec<Val>, Box<dyn Error>> {
    let mut args = env::args().skip(1);
    let name =
        args.next().ok_or("say which function to call: `cargo xtask run wasm -- FUNCTION ARGUMENTS`")?;
    let mut bytes = Vec::new();
    io::stdin().read_to_end(&mut bytes)?;
    if !bytes.starts_with(b"\0asm") {
        return Err("the input is no module: the binary form of one begins with `\\0asm`".into());
    }

    let engine = Engine::default();
    let module = span!("load", Module::new(&engine, &bytes))
        .map_err(|error| format!("the module is not valid: {error}"))?;
    let mut store = Store::new(&engine, ());
    let mut linker = Linker::new(&engine);
    linker.func_wrap("flatland", "write", write)?;
    let instance = span!("link", linker.instantiate_and_start(&mut store, &module))?;

    let function =
        instance.get_func(&store, &name).ok_or_else(|| format!("the module exports no function `{name}`"))?;
    let ty = function.ty(&store);
    if args.len() != ty.params().len() {
        return Err(format!("`{name}` takes {} arguments, and not {}", ty.params().len(), args.len()).into());
    }
    let arguments = ty
        .params()
        .iter()
        .zip(args)
        .map(|(ty, text)| value::parse(*ty, &text))
        .collect::<Result<Vec<_>, _>>()?;
    let mut results = vec![Val::I32(0); ty.results().len()];
    span!("call", function.call(&mut store, &arguments, &mut results))?;
    Ok(results)
}

/// The function that a module imports as `flatland.write`: sends `len` bytes of its exported memory from `start` on.
fn write(caller: Caller<'_, ()>, start: u32, len: u32) -> Result<(), wasmi::Error> {
    let memory = caller.get_export("memory").and_then(Extern::into_memory);
    let memory = memory.ok_or_else(|| wasmi::Error::new("the module exports no `memory` to write from"))?;
    let bytes = memory.data(&caller).get(start as usize..).and_then(|rest| rest.get(..len as usize));
    let bytes = bytes.ok_or_else(|| wasmi::Error::new("it writes what is not in its memory"))?;
    console::write(bytes);
    Ok(())
}
