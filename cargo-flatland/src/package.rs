//! The package with the guest programs that a command works on.

use std::env;
use std::path::{Path, PathBuf};

use crate::files::{is_writable, write_if_changed};
use crate::metadata::{self, Dependency, Member, Metadata, Program, TestFile};
use crate::spelling::{nearest, tolerance};
use crate::target::{HardFloats, Target};
use crate::{Result, caller, checkout, places};

/// The package of the guests' runtime. A package with guests depends on it.
pub const RUNTIME: &str = "flatland-guest";

/// The name that rustc's `--test` asks for on a machine without libtest.
const TEST_CRATE: &str = "test";

/// A package with guest programs.
#[derive(Debug)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its name for cargo, also where a crate that it depends on depends on another version of it.
    pub spec: String,
    /// The folder of its Cargo.toml.
    pub folder: PathBuf,
    /// Its programs, sorted by name.
    pub programs: Vec<Program>,
    /// Its files of tests.
    pub tests: Vec<TestFile>,
    /// Whether it has a library.
    pub has_library: bool,
    /// Which of its programs compute with the processor's floats.
    pub hard_floats: HardFloats,
    /// The folder of flat images and their ELF files.
    pub images: PathBuf,
    /// Options of cargo for the package and the bare machine, where the folder's settings are not known to have them.
    pub settings: Vec<String>,
    /// Whether the runtime is a member of the same workspace, with the same profile.
    pub has_runtime_beside: bool,
    /// The files of the targets, where the folder's settings do not have them.
    targets: Vec<(Target, String)>,
    dependencies: Vec<Dependency>,
}

impl Package {
    /// Finds the package that is meant in this folder: the one of this name, the folder's own, or the only one of the
    /// workspace.
    pub fn find(folder: &Path, name: Option<&str>) -> Result<Self> {
        let metadata = metadata::read(folder)?.ok_or_else(|| {
            let cargo = caller::cargo();
            format!("there is no package here: make one with `{cargo} new NAME`, or go to the folder of one")
        })?;
        let (root, target) = (metadata.root.clone(), metadata.target.clone());
        let mut package = Self::new(metadata, folder, name, target.join("guest"))?;
        if !is_writable(&package.images) {
            package.images = elsewhere(&package)?;
        }
        for target in Target::ALL.into_iter().filter(|target| package.uses(*target)).collect::<Vec<_>>() {
            let own = [&package.folder, &root].map(|folder| folder.join(target.file()));
            let path = match own.into_iter().find(|path| path.exists()) {
                Some(own) => own,
                None => {
                    let path = package.images.join(target.file());
                    write_if_changed(&path, target.text().as_bytes())?;
                    path
                }
            };
            let path = path.to_str().ok_or("the path of the package is not UTF-8: move it")?;
            package.targets.push((target, path.into()));
        }
        package.settings.extend(["--package", &package.spec].map(String::from));
        package.settings.extend(BUILD_STD.map(String::from));
        package.settings.extend(checkout::patches(package.from_registry())?);
        Ok(package)
    }

    /// The guest's package of a checkout, whose .cargo/config.toml has the settings. Its images are in this folder.
    pub fn of_checkout(folder: &Path, images: &Path) -> Result<Self> {
        let metadata = metadata::read(folder)?.ok_or("the checkout has no guests: get it again")?;
        let mut package = Self::new(metadata, folder, None, images.into())?;
        package.targets.push((Target::Sse2, format!("../{}", Target::Sse2.file())));
        Ok(package)
    }

    fn new(metadata: Metadata, folder: &Path, name: Option<&str>, images: PathBuf) -> Result<Self> {
        let has_runtime_beside = metadata.members.iter().any(|member| member.name == RUNTIME);
        let Member { name, version, folder, dependencies, programs, tests, has_library, hard_floats } =
            choose(metadata, folder, name)?;
        hard_floats.check(&name, programs.iter().map(|program| &*program.name))?;
        Ok(Self {
            spec: format!("{name}@{version}"),
            name,
            folder,
            programs,
            tests,
            has_library,
            hard_floats,
            images,
            settings: Vec::new(),
            has_runtime_beside,
            targets: Vec::new(),
            dependencies,
        })
    }

    /// The programs that are compiled for this target.
    pub fn programs_for(&self, target: Target) -> impl Iterator<Item = &Program> {
        self.programs.iter().filter(move |program| self.hard_floats.target(&program.name) == target)
    }

    /// Whether something of the package is compiled for this target.
    fn uses(&self, target: Target) -> bool {
        self.hard_floats.of_package() == target || self.programs_for(target).next().is_some()
    }

    /// cargo's options that choose this target. There are none for that of the folder's settings.
    pub fn choose_target(&self, target: Target) -> impl Iterator<Item = &str> {
        let path = self.targets.iter().find(|(it, _)| *it == target).map(|(_, path)| &**path);
        path.into_iter().flat_map(|path| ["--target", path])
    }

    /// Whether there is a crate `test`, which rustc's `--test` asks for.
    pub fn has_test_crate(&self) -> bool {
        self.dependencies.iter().any(|dependency| dependency.name == TEST_CRATE)
    }

    /// The names of the packages that it takes from the registry.
    pub fn from_registry(&self) -> impl Iterator<Item = &str> {
        let from_registry = self.dependencies.iter().filter(|dependency| dependency.is_from_registry);
        from_registry.map(|dependency| &*dependency.package)
    }

    /// The folder in which cargo builds guests.
    pub fn cargo_target(&self) -> PathBuf {
        self.images.join("cargo")
    }

    /// A guest program's flat image.
    pub fn image(&self, name: &str) -> PathBuf {
        self.images.join(format!("{name}.bin"))
    }

    /// The ELF file that a flat image is made of, with symbols and line tables.
    pub fn elf(&self, name: &str) -> PathBuf {
        self.images.join(format!("{name}.elf"))
    }
}

/// cargo's options for what a build for the bare machine needs; guest/.cargo/bare.toml has the same, with the reasons.
const BUILD_STD: [&str; 3] = [
    "-Zbuild-std=core,alloc",
    "-Zbuild-std-features=compiler-builtins-mem,optimize_for_size",
    "-Zjson-target-spec",
];

/// Where to build a package whose own folder cannot be written, if nobody has named another.
fn elsewhere(package: &Package) -> Result<PathBuf> {
    let shown = package.images.display();
    let hint = "name another folder in CARGO_TARGET_DIR";
    if env::var_os("CARGO_TARGET_DIR").is_some() {
        return Err(format!("{shown} cannot be written: {hint}"));
    }
    // Packages of one name and in different folders are told apart.
    let path = package.folder.to_string_lossy();
    let place = path.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    let folder = places::cache()
        .map(|cache| cache.join("packages").join(place.trim_matches('-')).join("guest"))
        .filter(|folder| is_writable(folder))
        .ok_or_else(|| {
            format!("{shown} cannot be written, nor a folder for it in the user's cache: {hint}")
        })?;
    if !package.folder.join("Cargo.lock").exists() {
        return Err(format!(
            "{} cannot be written and has no Cargo.lock: make one with `cargo generate-lockfile` where it can be",
            package.folder.display()
        ));
    }
    caller::say(&format!("{shown} cannot be written, so the guests are built in {}", folder.display()));
    Ok(folder)
}

/// Whether a package has guest programs.
pub fn has_guests(member: &Member) -> bool {
    member.dependencies.iter().any(|dependency| dependency.package == RUNTIME)
}

fn choose(metadata: Metadata, folder: &Path, name: Option<&str>) -> Result<Member> {
    let cargo = caller::cargo();
    let own = metadata.around(folder).map(|member| member.name.clone());
    let mut with_guests: Vec<_> = metadata.members.into_iter().filter(has_guests).collect();
    let wanted = match name {
        Some(name) => Some(name.to_owned()),
        None => own.filter(|own| with_guests.iter().any(|member| member.name == *own)),
    };
    if let Some(wanted) = wanted {
        return match with_guests.iter().position(|member| member.name == wanted) {
            Some(index) => Ok(with_guests.swap_remove(index)),
            None => {
                let missing = format!("there is no package `{wanted}` with guests");
                let names: Vec<_> = with_guests.iter().map(|member| &*member.name).collect();
                Err(match nearest(&wanted, names.iter().copied(), tolerance(&wanted)) {
                    Some(meant) => format!("{missing}: did you mean `{meant}`?"),
                    None if names.is_empty() => no_guests(cargo),
                    None => format!("{missing}: choose one of {}", names.join(", ")),
                })
            }
        };
    }
    match <[Member; 1]>::try_from(with_guests) {
        Ok([only]) => Ok(only),
        Err(none) if none.is_empty() => Err(no_guests(cargo)),
        Err(several) => {
            let names: Vec<_> = several.into_iter().map(|member| member.name).collect();
            Err(format!("which package? Choose one with --package: {}", names.join(", ")))
        }
    }
}

fn no_guests(cargo: &str) -> String {
    format!(
        "no package here depends on {RUNTIME}: add it with `cargo add {RUNTIME}`, or make a package with `{cargo} new NAME`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, folder: &str, package: &str) -> Member {
        let dependency = Dependency { package: package.into(), name: package.into(), is_from_registry: true };
        Member {
            name: name.into(),
            version: "0.1.0".into(),
            folder: folder.into(),
            dependencies: vec![dependency],
            programs: Vec::new(),
            tests: Vec::new(),
            has_library: false,
            hard_floats: HardFloats::Package(false),
        }
    }

    #[test]
    fn the_package_with_guests_is_chosen() {
        let chosen = |members: &[(&str, &str, &str)], folder: &str, name: Option<&str>| {
            let members =
                members.iter().map(|(name, folder, package)| member(name, folder, package)).collect();
            let metadata = Metadata { members, root: "/w".into(), target: "/w/target".into() };
            choose(metadata, Path::new(folder), name).map(|member| member.name)
        };
        let ordinary = ("tool", "/w", "serde");
        let (one, two) = (("one", "/w/one", RUNTIME), ("two", "/w/one/two", RUNTIME));
        let ok = |name: &str| Ok(name.to_owned());
        assert_eq!(chosen(&[ordinary, one], "/w", None), ok("one"));
        assert_eq!(chosen(&[ordinary, one], "/w/src", None), ok("one"));
        assert_eq!(chosen(&[ordinary, one, two], "/w/one", None), ok("one"));
        assert_eq!(chosen(&[ordinary, one, two], "/w/one/two/src", None), ok("two"));
        assert_eq!(chosen(&[ordinary, one, two], "/w/one", Some("two")), ok("two"));
        assert_eq!(
            chosen(&[("gallery", "/g", RUNTIME), (RUNTIME, "/g/r", "serde")], "/g/r", None),
            ok("gallery")
        );
        for (members, name, message) in [
            (&[ordinary][..], None, no_guests("cargo flatland")),
            (&[ordinary], Some("tool"), no_guests("cargo flatland")),
            (&[ordinary, one, two], None, "which package? Choose one with --package: one, two".into()),
            (&[one, two], Some("tow"), "there is no package `tow` with guests: did you mean `two`?".into()),
            (&[one], Some("tool"), "there is no package `tool` with guests: choose one of one".into()),
        ] {
            assert_eq!(chosen(members, "/w", name), Err(message));
        }
    }

    /// The settings for a plain cargo in guest/ are those that are given to cargo elsewhere.
    #[test]
    fn a_plain_cargo_has_the_same_settings() {
        let table = include_str!("bare.toml");
        let lines = table.lines().filter(|line| !line.starts_with('#') && line.contains(" = "));
        let options: Vec<_> = lines
            .map(|line| match line.split_once(" = ").expect("it has one") {
                (name, "true") => format!("-Z{name}"),
                (name, list) => format!("-Z{name}={}", list.replace(['[', ']', '"', ' '], "")),
            })
            .collect();
        assert_eq!(options, BUILD_STD);
    }
}
