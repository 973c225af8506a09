//! `cargo flatland`: the library's commands, and with the feature `programs` all that they start.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use cargo_flatland::cargo::quote;
use cargo_flatland::host::{Host, Place, Program};
use cargo_flatland::options::{Own, Table};
use cargo_flatland::{Context, Result, checkout, main as run};

/// The first of this program's arguments if it is to be another one, which the second names.
const AS: &str = "as";

const OWN: Own = Own {
    table: Table {
        head: "Build Rust programs for a bare 32-bit processor, run, test, debug and fuzz them.",
        own: &[],
    },
    version: concat!("cargo-flatland ", env!("CARGO_PKG_VERSION"), "\n"),
    parse: |_, _| Ok(None),
};

fn main() -> ExitCode {
    let mut arguments: Vec<OsString> = env::args_os().skip(1).collect();
    #[cfg(feature = "programs")]
    if arguments.len() > 1 && arguments[0] == AS {
        let rest = arguments.split_off(2);
        return match arguments[1].to_str() {
            Some("flatland-inspect") => flatland::cli::inspect::main(rest),
            Some("flatland-test") => flatland_test::main(rest),
            _ => flatland::cli::main(rest),
        };
    }
    // cargo passes the name of the subcommand on.
    if arguments.first().is_some_and(|first| first == "flatland") {
        arguments.remove(0);
    }
    run(arguments, &OWN, |package| Ok(Context::here(&Installed, package)))
}

/// The programs that are in this one, or lie beside it, or in a folder of PATH.
struct Installed;

impl Host for Installed {
    fn find(&self, program: Program) -> Result<Place> {
        let this = env::current_exe()
            .map_err(|error| format!("this program does not know where it is ({error}): install it again"))?;
        if cfg!(feature = "programs") && program != Program::Fuzz {
            return Ok(Place { file: this, words: vec![AS.into(), program.name().into()] });
        }
        let name = format!("{}{}", program.name(), env::consts::EXE_SUFFIX);
        let path = env::var_os("PATH").unwrap_or_default();
        let folders = this.parent().map(PathBuf::from).into_iter().chain(env::split_paths(&path));
        match folders.map(|folder| folder.join(&name)).find(|file| file.is_file()) {
            Some(file) => Ok(Place { file, words: Vec::new() }),
            None => Err(format!("there is no {name} here: install it with `{}`", how_to_install(program))),
        }
    }
}

fn how_to_install(program: Program) -> String {
    let (package, folder) = match program {
        Program::Flatland | Program::Inspect => ("flatland-vmm", "host"),
        Program::Test => ("flatland-test", "harness"),
        Program::Fuzz => ("flatland-fuzz", "fuzz"),
    };
    match checkout::root() {
        Some(root) => format!("cargo install --path {}", quote(root.join(folder).as_os_str())),
        None => format!("cargo install {package}"),
    }
}
