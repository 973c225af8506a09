//! The published libraries whose tests are run, and what is changed in these tests so that they need no std.

/// A published library.
pub struct Library {
    pub name: &'static str,
    /// Exactly this one: the table of exceptions is about its lines.
    pub version: &'static str,
    pub features: &'static [&'static str],
    /// Its tests, in its folder `tests`.
    pub tests: &'static [&'static str],
    /// The modules that they share.
    pub modules: &'static [&'static str],
    /// Tests that are left out, because they need more than a bare machine has.
    pub left_out: &'static [&'static str],
    /// What else is replaced in their text, and by what.
    pub replaced: &'static [(&'static str, &'static str)],
}

/// Numbers, text that is parsed, an encoding, a generic collection with `unsafe`, and a set of bits.
pub const LIBRARIES: [Library; 5] = [
    Library {
        name: "itoa",
        version: "1.0.19",
        features: &[],
        tests: &["test"],
        modules: &[],
        left_out: &[],
        replaced: &[],
    },
    Library {
        name: "semver",
        version: "1.0.28",
        features: &[],
        tests: &["test_identifier", "test_version", "test_version_req"],
        modules: &["node", "util"],
        left_out: &[],
        replaced: &[(
            "use core::collections::hash_map::DefaultHasher;",
            "#[allow(deprecated)] use core::hash::SipHasher as DefaultHasher;",
        )],
    },
    Library {
        name: "base64ct",
        version: "1.8.3",
        features: &["alloc"],
        tests: &["bcrypt", "crypt", "pbkdf2", "shacrypt", "standard", "url"],
        modules: &["common"],
        left_out: &[],
        replaced: &[],
    },
    Library {
        name: "arrayvec",
        version: "0.7.8",
        features: &[],
        tests: &["tests"],
        modules: &[],
        // The first catches panics. The others are for 64 bits only.
        left_out: &[
            "test_drop_panics",
            "deny_max_capacity_arrayvec_value",
            "deny_max_capacity_arrayvec_value_const",
        ],
        replaced: &[("use core::collections::HashMap;\n", ""), ("net::TcpStream", "net::Ipv4Addr")],
    },
    Library {
        name: "fixedbitset",
        version: "0.5.7",
        features: &[],
        tests: &["tests"],
        modules: &[],
        // It takes minutes on the bare machine without optimization.
        left_out: &["count_ones_panic"],
        replaced: &[("extern crate std;", "")],
    },
];

impl Library {
    /// A line for the table of dependencies in Cargo.toml.
    pub fn dependency(&self) -> String {
        let Self { name, version, features, .. } = self;
        format!(
            "{name} = {{ version = \"={version}\", default-features = false, features = {features:?} }}\n"
        )
    }

    /// The folder's name in cargo's registry.
    pub fn folder(&self) -> String {
        format!("{}-{}", self.name, self.version)
    }

    /// The text of its tests without what needs std. Each change must be one, so none is left of an older version:
    /// `changed` is told of those that were.
    pub fn without_std(&self, text: &str, mut changed: impl FnMut(&'static str)) -> String {
        let mut text = text.replace("std::", "core::");
        for &(from, to) in self.replaced {
            if text.contains(from) {
                changed(from);
                text = text.replace(from, to);
            }
        }
        for &name in self.left_out {
            // From the end of the item before it, so its attributes are among what is removed.
            const END: &str = "\n}\n";
            if let Some(at) = text.find(&format!("fn {name}("))
                && let Some(start) = text[..at].rfind(END).map(|end| end + END.len())
                && let Some(len) = text[start..].find(END).map(|end| end + END.len())
            {
                changed(name);
                text.replace_range(start..start + len, "");
            }
        }
        text
    }
}
