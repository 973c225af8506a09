//! Lines that the compiler's coverage and Flatland's say different things of, each with the reason.

/// Lines of a library.
pub struct Known {
    /// Their file in the registry.
    pub file: &'static str,
    /// The first of them and the last. The library's version is pinned.
    pub lines: (u32, u32),
    /// Why they differ.
    pub reason: &'static str,
}

const BITS: &str =
    "a block has 32 bits there, and 64 or 128 here, so that loops over blocks have other rounds";
const SIZE_HINT: &str =
    "the guest's `core` has debug assertions, with which `collect` looks at `size_hint` once more";

pub const KNOWN: &[Known] = &[
    Known {
        file: "semver-1.0.28/src/identifier.rs",
        lines: (132, 133),
        reason: "the source asks for less than 64 bits",
    },
    Known { file: "arrayvec-0.7.8/src/arrayvec.rs", lines: (1028, 1030), reason: SIZE_HINT },
    Known { file: "fixedbitset-0.5.7/src/lib.rs", lines: (326, 326), reason: BITS },
    Known { file: "fixedbitset-0.5.7/src/lib.rs", lines: (361, 361), reason: BITS },
    Known { file: "fixedbitset-0.5.7/src/lib.rs", lines: (889, 889), reason: BITS },
    Known { file: "fixedbitset-0.5.7/src/lib.rs", lines: (939, 940), reason: BITS },
    Known { file: "fixedbitset-0.5.7/src/lib.rs", lines: (1102, 1104), reason: SIZE_HINT },
    Known { file: "fixedbitset-0.5.7/src/lib.rs", lines: (1135, 1137), reason: SIZE_HINT },
    Known { file: "fixedbitset-0.5.7/src/lib.rs", lines: (1166, 1168), reason: SIZE_HINT },
    Known { file: "fixedbitset-0.5.7/src/lib.rs", lines: (1199, 1201), reason: SIZE_HINT },
    Known { file: "fixedbitset-0.5.7/src/lib.rs", lines: (1563, 1565), reason: BITS },
    Known { file: "fixedbitset-0.5.7/src/lib.rs", lines: (1584, 1586), reason: BITS },
];
