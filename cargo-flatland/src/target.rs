//! The targets of guests. Both are of the same machine; they differ in who computes floats.

use crate::Result;

/// What a guest program is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Floats are computed in software, so the program runs on every engine.
    Bare,
    /// Floats are computed by SSE2, which the runtime turns on before `main`.
    Sse2,
}

impl Target {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Bare, Self::Sse2];

    /// The target's name, which is that of cargo's folder for it, too.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bare => "i686-bare",
            Self::Sse2 => "i686-bare-sse2",
        }
    }

    /// The name of the file that describes it.
    pub fn file(self) -> String {
        format!("{}.json", self.name())
    }

    /// The contents of this file, for where a package has none of its own.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Bare => include_str!("i686-bare.json"),
            Self::Sse2 => include_str!("i686-bare-sse2.json"),
        }
    }
}

/// Which programs of a package compute with the processor's floats: `hard-floats` under `[package.metadata.flatland]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HardFloats {
    /// All, and its tests: `true`. None: `false`, or no such line.
    Package(bool),
    /// Those of these names.
    Programs(Vec<String>),
    /// It is neither a boolean nor a list of names.
    Unknown,
}

impl HardFloats {
    /// Returns an error if a program of this package that is named is not among `programs`.
    pub fn check<'a>(&self, package: &str, programs: impl Iterator<Item = &'a str> + Clone) -> Result<()> {
        let message = match self {
            Self::Package(_) => return Ok(()),
            Self::Unknown => "it is neither `true` nor a list of names".to_owned(),
            Self::Programs(names) => {
                match names.iter().find(|name| !programs.clone().any(|program| program == *name)) {
                    None => return Ok(()),
                    Some(name) => format!("there is no program `{name}`"),
                }
            }
        };
        Err(format!(
            "`hard-floats` under [package.metadata.flatland] of `{package}`: {message}; write `true`, or the names of \
             programs as [\"one\", \"two\"]"
        ))
    }

    /// The target of the program of this name.
    pub fn target(&self, program: &str) -> Target {
        match self {
            Self::Package(true) => Target::Sse2,
            Self::Programs(names) if names.iter().any(|name| name == program) => Target::Sse2,
            _ => Target::Bare,
        }
    }

    /// The target of the package's library and of its files of tests.
    pub fn of_package(&self) -> Target {
        match self {
            Self::Package(true) => Target::Sse2,
            _ => Target::Bare,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The two files differ in nothing but floats.
    #[test]
    fn targets_differ_in_floats_only() {
        let bare = Target::Bare.text().replace("-mmx,-sse,+soft-float", "-mmx,+sse,+sse2");
        let bare = bare.replace("  \"rustc-abi\": \"softfloat\",\n", "");
        assert_eq!(bare.replace("linked at 0x0", "linked at 0x0, floats by SSE2"), Target::Sse2.text());
    }
}
