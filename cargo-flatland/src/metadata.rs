//! What cargo knows of the packages in a folder: `cargo metadata`, which reads manifests and resolves nothing.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use jzon::JsonValue;

use crate::Result;
use crate::cargo::cargo;
use crate::target::HardFloats;

/// The workspace that a folder belongs to.
#[derive(Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Its packages.
    pub members: Vec<Member>,
    /// Its top folder.
    pub root: PathBuf,
    /// Where cargo builds.
    pub target: PathBuf,
}

/// A package of a workspace.
#[derive(Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The folder of its Cargo.toml.
    pub folder: PathBuf,
    /// The packages that it depends on, in whatever way.
    pub dependencies: Vec<Dependency>,
    /// Its programs: their names, sources and features without which cargo leaves them out.
    pub programs: Vec<Program>,
    /// The names of its files of tests.
    pub tests: Vec<TestFile>,
    /// Whether it has a library.
    pub has_library: bool,
    /// Which of its programs compute with the processor's floats.
    pub hard_floats: HardFloats,
}

/// A file of tests of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestFile {
    /// Its name.
    pub name: String,
    /// Whether it is one of those that are run if none is named.
    pub is_default: bool,
}

/// A dependency of a package.
#[derive(Debug, PartialEq, Eq)]
pub struct Dependency {
    /// The name of the other package.
    pub package: String,
    /// What it is called in this one.
    pub name: String,
    /// Whether it comes from the registry.
    pub is_from_registry: bool,
}

/// A program of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Its name.
    pub name: String,
    /// The file with its `main`.
    pub source: PathBuf,
    /// The features that it needs.
    pub features: Vec<String>,
    /// Whether its own tests are run if none is named.
    pub has_tests: bool,
}

impl Metadata {
    /// The innermost package around a folder.
    pub fn around(&self, folder: &Path) -> Option<&Member> {
        let around = self.members.iter().filter(|member| folder.starts_with(&member.folder));
        around.max_by_key(|member| member.folder.as_os_str().len())
    }
}

/// Asks cargo for the workspace of this folder. `None` is a folder without one.
pub fn read(folder: &Path) -> Result<Option<Metadata>> {
    let mut command = cargo(folder, ["metadata", "--no-deps", "--format-version", "1"]);
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cannot run cargo ({error}): install Rust with rustup"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        if said.contains("could not find `Cargo.toml`") {
            return Ok(None);
        }
        eprint!("{said}");
        return Err("cargo cannot read the package: correct what its message above says".into());
    }
    parse(&String::from_utf8_lossy(&output.stdout)).map(Some).ok_or_else(|| {
        "cargo describes the package in a form that is not known: report it, with cargo's version".into()
    })
}

fn parse(text: &str) -> Option<Metadata> {
    let value = jzon::parse(text).ok()?;
    Some(Metadata {
        members: value["packages"].as_array()?.iter().map(member).collect::<Option<_>>()?,
        root: path(&value["workspace_root"])?,
        target: path(&value["target_directory"])?,
    })
}

fn member(value: &JsonValue) -> Option<Member> {
    let targets = value["targets"].as_array()?;
    let of_kind = |kind: &'static str| {
        targets.iter().filter(move |target| {
            target["kind"].as_array().is_some_and(|kinds| kinds.iter().any(|it| it == kind))
        })
    };
    let mut programs = of_kind("bin").map(program).collect::<Option<Vec<_>>>()?;
    programs.sort_by(|a, b| a.name.cmp(&b.name));
    Some(Member {
        name: string(&value["name"])?,
        version: string(&value["version"])?,
        folder: path(&value["manifest_path"])?.parent()?.into(),
        dependencies: value["dependencies"].as_array()?.iter().map(dependency).collect::<Option<_>>()?,
        programs,
        tests: of_kind("test").map(test_file).collect::<Option<_>>()?,
        has_library: of_kind("lib").next().is_some(),
        hard_floats: hard_floats(&value["metadata"]["flatland"]["hard-floats"]),
    })
}

fn program(value: &JsonValue) -> Option<Program> {
    let features =
        value["required-features"].as_array().map(|names| names.iter().filter_map(string).collect());
    Some(Program {
        name: string(&value["name"])?,
        source: path(&value["src_path"])?,
        features: features.unwrap_or_default(),
        has_tests: is_tested(value),
    })
}

fn test_file(value: &JsonValue) -> Option<TestFile> {
    Some(TestFile { name: string(&value["name"])?, is_default: is_tested(value) })
}

/// Whether `cargo test` builds the tests of a target if nobody names one.
fn is_tested(target: &JsonValue) -> bool {
    target["test"].as_bool().unwrap_or(true)
}

fn hard_floats(value: &JsonValue) -> HardFloats {
    if value.is_null() {
        return HardFloats::Package(false);
    }
    if let Some(all) = value.as_bool() {
        return HardFloats::Package(all);
    }
    let names = value.as_array().map(|names| names.iter().map(string).collect::<Option<Vec<_>>>());
    names.flatten().map_or(HardFloats::Unknown, HardFloats::Programs)
}

fn dependency(value: &JsonValue) -> Option<Dependency> {
    let package = string(&value["name"])?;
    Some(Dependency {
        name: string(&value["rename"]).unwrap_or_else(|| package.clone()),
        package,
        is_from_registry: value["source"].as_str().is_some_and(|source| source.starts_with("registry+")),
    })
}

fn string(value: &JsonValue) -> Option<String> {
    value.as_str().map(Into::into)
}

fn path(value: &JsonValue) -> Option<PathBuf> {
    value.as_str().map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_programs_and_dependencies_are_found() {
        let text = r#"{"packages":[{"name":"a","version":"1.2.3","manifest_path":"/w s/ä/Cargo.toml","dependencies":[
            {"name":"flatland-guest","source":"registry+https://example.org","rename":null},
            {"name":"flatland-guest-test","source":null,"rename":"test","path":"/x"}],
            "targets":[{"kind":["lib"],"name":"a","src_path":"/w s/ä/src/lib.rs"},
            {"kind":["bin"],"name":"two","src_path":"/w s/ä/src/two.rs","required-features":["f"]},
            {"kind":["bin"],"name":"one","src_path":"/w s/ä/src/main.rs"},
            {"kind":["test"],"name":"t","src_path":"/w s/ä/tests/t.rs","test":false}],
            "metadata":{"other":1,"flatland":{"hard-floats":["two"]}}}],
            "workspace_root":"/w s","target_directory":"/w s/target","new":[1]}"#;
        let dependency = |package: &str, name: &str, is_from_registry| Dependency {
            package: package.into(),
            name: name.into(),
            is_from_registry,
        };
        let program = |name: &str, source: &str, features: &[&str]| Program {
            name: name.into(),
            source: source.into(),
            features: features.iter().map(|it| it.to_string()).collect(),
            has_tests: true,
        };
        let member = Member {
            name: "a".into(),
            version: "1.2.3".into(),
            folder: "/w s/ä".into(),
            dependencies: vec![
                dependency("flatland-guest", "flatland-guest", true),
                dependency("flatland-guest-test", "test", false),
            ],
            programs: vec![
                program("one", "/w s/ä/src/main.rs", &[]),
                program("two", "/w s/ä/src/two.rs", &["f"]),
            ],
            tests: vec![TestFile { name: "t".into(), is_default: false }],
            has_library: true,
            hard_floats: HardFloats::Programs(vec!["two".into()]),
        };
        let expected = Metadata { members: vec![member], root: "/w s".into(), target: "/w s/target".into() };
        assert_eq!(parse(text), Some(expected));
        for text in ["", "[]", "{}", r#"{"packages":[1]}"#] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn hard_floats_are_for_all_for_some_or_for_none() {
        let parsed = |text: &str| hard_floats(&jzon::parse(text).unwrap()["hard-floats"]);
        assert_eq!(parsed("null"), HardFloats::Package(false));
        assert_eq!(parsed(r#"{"hard-floats":true}"#), HardFloats::Package(true));
        assert_eq!(parsed(r#"{"hard-floats":["a"]}"#), HardFloats::Programs(vec!["a".into()]));
        for text in [r#"{"hard-floats":"a"}"#, r#"{"hard-floats":[1]}"#, r#"{"hard-floats":{}}"#] {
            assert_eq!(parsed(text), HardFloats::Unknown, "{text}");
        }
    }
}
