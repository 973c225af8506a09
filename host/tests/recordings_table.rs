//! Tries what docs/reference.md says of recordings: the result of each row of its table is recorded, the same by itself, a
//! fault, or said to be missing when the recording is replayed on the soft engine.
//!
//! Needs nothing but /dev/kvm, so this program's binary also runs on another machine.

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::{engines, machine_on, reference_table};
use flatland::{EngineChoice, Machine, Outcome, Recorder, Recording, RunError};

/// What becomes of the result of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Recorded,
    Pinned,
    Refused,
    NotRecorded,
}

use Fate::{NotRecorded, Pinned, Recorded, Refused};

impl Fate {
    fn read(text: &str) -> Self {
        match text {
            "recorded" => Recorded,
            "pinned" => Pinned,
            "refused" => Refused,
            "not recorded" => NotRecorded,
            _ => panic!("`{text}` is not a cell of the table of recordings"),
        }
    }

    /// What may be seen of it: a clock may tell the same twice, and a processor may do as the soft engine does.
    fn may_look_like(self) -> &'static [Self] {
        match self {
            Recorded => &[Recorded, Pinned],
            Pinned => &[Pinned],
            Refused => &[Refused],
            NotRecorded => &[NotRecorded, Pinned, Refused],
        }
    }
}

/// The rows: name, and what the cells for soft and KVM allow.
fn table() -> Vec<(&'static str, [Vec<Fate>; 2])> {
    let row = |row: Vec<&'static str>| {
        let [name, soft, kvm] = row[..] else { panic!("{row:?} has not three cells") };
        (name, [soft, kvm].map(|cell| cell.split(", or ").map(Fate::read).collect()))
    };
    reference_table("| what the guest does | `soft` | `kvm` |").into_iter().map(row).collect()
}

/// push ecx; push ebx; push edx; push eax; mov esi, esp; mov ecx, 16; mov edx, 0xe9; rep outsb; hlt
const SEND_REGISTERS: &[u8] =
    &[0x51, 0x53, 0x52, 0x50, 0x89, 0xe6, 0xb9, 16, 0, 0, 0, 0xba, 0xe9, 0, 0, 0, 0xf3, 0x6e, 0xf4];

/// pushfd; pop eax
const FLAGS: &[u8] = &[0x9c, 0x58];

/// Code for each row, in the table's order. Behind each the registers are sent, and in `flags_of` the flags.
fn codes() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let all = |codes: &[&[u8]]| codes.iter().map(|code| code.to_vec()).collect::<Vec<_>>();
    let flags_of = |codes: &[&[u8]]| codes.iter().map(|code| [code, FLAGS].concat()).collect::<Vec<_>>();
    vec![
        (
            "reads at a port: input, arguments, clock, random bytes",
            // in al, PORT; and for more bytes mov edi, 0x1000; mov ecx, 16; mov edx, PORT; rep insb; mov eax, [0x1000]
            [0xe9, 0xeb, 0xec, 0xed, 0xee, 0xef]
                .into_iter()
                .flat_map(|port| {
                    let many = [
                        0xbf, 0, 0x10, 0, 0, 0xb9, 16, 0, 0, 0, 0xba, port, 0, 0, 0, 0xf3, 0x6c, 0xa1, 0,
                        0x10, 0, 0,
                    ];
                    [vec![0xe4, port], many.to_vec()]
                })
                .collect(),
        ),
        // mov eax, LEAF; cpuid
        (
            "`cpuid`",
            all(&[
                &[0x31, 0xc0, 0x0f, 0xa2],
                &[0xb8, 1, 0, 0, 0, 0x0f, 0xa2],
                &[0xb8, 7, 0, 0, 0, 0x0f, 0xa2],
            ]),
        ),
        ("`rdtsc`", all(&[&[0x0f, 0x31]])),
        (
            "`rdtscp`, `rdpid`, `rdrand`, `rdseed`, `xgetbv`, and others that `cpuid` does not promise",
            all(&[
                &[0x0f, 0x01, 0xf9],
                &[0xf3, 0x0f, 0xc7, 0xf8],
                &[0x0f, 0xc7, 0xf0],
                &[0x0f, 0xc7, 0xf8],
                &[0x31, 0xc9, 0x0f, 0x01, 0xd0],
                // movbe eax, [0]
                &[0x0f, 0x38, 0xf0, 0x05, 0, 0, 0, 0],
            ]),
        ),
        (
            "`lzcnt` and `tzcnt`, which `cpuid` does not promise either",
            // of esp, to eax
            all(&[&[0xf3, 0x0f, 0xbd, 0xc4], &[0xf3, 0x0f, 0xbc, 0xc4]]),
        ),
        (
            "`rdmsr`, `wrmsr`, `rdpmc`",
            // of the time stamp, EFER, SYSENTER_CS
            all(&[
                &[0xb9, 0x10, 0, 0, 0, 0x0f, 0x32],
                &[0xb9, 0x80, 0, 0, 0xc0, 0x0f, 0x32],
                &[0xb9, 0x74, 1, 0, 0, 0x0f, 0x30],
                // rdpmc of counter 0
                &[0x0f, 0x33],
            ]),
        ),
        (
            "control and debug registers, `sidt`, `sgdt`, `sldt`, `str`, `smsw`",
            all(&[
                &[0x0f, 0x20, 0xc0],
                &[0x0f, 0x20, 0xd0],
                &[0x0f, 0x20, 0xd8],
                &[0x0f, 0x20, 0xe0],
                &[0x0f, 0x21, 0xf0],
                &[0x0f, 0x21, 0xf8],
                // push eax; push eax; sidt [esp]; pop eax; pop ebx
                &[0x50, 0x50, 0x0f, 0x01, 0x0c, 0x24, 0x58, 0x5b],
                &[0x50, 0x50, 0x0f, 0x01, 0x04, 0x24, 0x58, 0x5b],
                &[0x0f, 0x00, 0xc0],
                &[0x0f, 0x00, 0xc8],
                &[0x0f, 0x01, 0xe0],
            ]),
        ),
        (
            "status flags that the manual leaves undefined",
            flags_of(&[
                // mov eax, esp; shl eax, 3; and so on
                &[0x89, 0xe0, 0xc1, 0xe0, 3],
                &[0x89, 0xe0, 0xc1, 0xf8, 3],
                &[0x89, 0xe0, 0xc1, 0xd0, 3],
                &[0x89, 0xe0, 0xf7, 0xe4],
                &[0x89, 0xe0, 0x0f, 0xaf, 0xc4],
                &[0x89, 0xe0, 0xf7, 0xf4],
                &[0x0f, 0xbc, 0xc4],
                &[0x0f, 0xbd, 0xc4],
                &[0x0f, 0xa4, 0xe0, 3],
                // mov al, 0x9a; aad
                &[0xb0, 0x9a, 0xd5, 10],
            ]),
        ),
        (
            "`bsf` and `bsr` of 0: the register that the manual leaves undefined",
            // mov eax, 7; bsf eax, ecx
            all(&[&[0xb8, 7, 0, 0, 0, 0x0f, 0xbc, 0xc1], &[0xb8, 7, 0, 0, 0, 0x0f, 0xbd, 0xc1]]),
        ),
        (
            "a repeated string instruction that overwrites itself",
            // 0: mov edi, 12; 5: mov ecx, 8; a: mov al, 0xf4; c: rep stosb; e: nop...
            all(&[&[0xbf, 12, 0, 0, 0, 0xb9, 8, 0, 0, 0, 0xb0, 0xf4, 0xf3, 0xaa, 0x90, 0x90, 0x90, 0x90]]),
        ),
        (
            "reads the page of exceptions, above RAM",
            // mov eax, [0xfd000000]
            all(&[&[0xa1, 0, 0, 0, 0xfd]]),
        ),
        (
            "paging",
            all(&[
                // mov dword [0x2000], 0x83; mov dword [0x200c], 0xc00083; mov eax, cr4; or eax, 0x10; mov cr4, eax;
                // mov eax, 0x2000; mov cr3, eax; mov eax, cr0; or eax, 0x80000000; mov cr0, eax; mov eax, 7
                &[
                    0xc7, 0x05, 0, 0x20, 0, 0, 0x83, 0, 0, 0, 0xc7, 0x05, 0x0c, 0x20, 0, 0, 0x83, 0, 0xc0, 0,
                    0x0f, 0x20, 0xe0, 0x83, 0xc8, 0x10, 0x0f, 0x22, 0xe0, 0xb8, 0, 0x20, 0, 0, 0x0f, 0x22,
                    0xd8, 0x0f, 0x20, 0xc0, 0x0d, 0, 0, 0, 0x80, 0x0f, 0x22, 0xc0, 0xb8, 7, 0, 0, 0,
                ],
            ]),
        ),
        (
            "x87, MMX, SSE, SSE2 and `popcnt`",
            all(&[
                // popcnt eax, esp
                &[0xf3, 0x0f, 0xb8, 0xc4],
                // push eax; fld1; fstp dword [esp]; pop eax
                &[0x50, 0xd9, 0xe8, 0xd9, 0x1c, 0x24, 0x58],
                // mov eax, cr4; or eax, 0x200; mov cr4, eax; cvtsi2ss xmm0, esp; movd eax, xmm0
                &[
                    0x0f, 0x20, 0xe0, 0x0d, 0, 2, 0, 0, 0x0f, 0x22, 0xe0, 0xf3, 0x0f, 0x2a, 0xc4, 0x66, 0x0f,
                    0x7e, 0xc0,
                ],
                // push esp; movd mm0, esp; movd eax, mm0
                &[0x54, 0x0f, 0x6e, 0xc4, 0x0f, 0x7e, 0xc0],
            ]),
        ),
        (
            "transcendental functions of the x87, `rcpps` and `rsqrtps`",
            all(&[
                // push eax; fild dword [esp]; fld1; fpatan; fstp dword [esp]; pop eax
                &[0x50, 0xdb, 0x04, 0x24, 0xd9, 0xe8, 0xd9, 0xf3, 0xd9, 0x1c, 0x24, 0x58],
            ]),
        ),
    ]
}

/// How a run ended, and what it sent.
type Seen = (Outcome, Vec<u8>);

fn record(engine: EngineChoice, code: &[u8]) -> (Seen, Vec<u8>) {
    let mut machine = machine_on(engine, code, b"the input of this run");
    let (recorder, file) = Recorder::to_memory();
    machine.record(recorder).unwrap();
    let outcome = machine.run().unwrap();
    machine.end_recording(&outcome).unwrap();
    ((outcome, machine.streams().output.bytes().to_vec()), file.take())
}

/// The replay, or `None` if it leaves its recording and says so.
fn replay(file: &[u8]) -> Option<Seen> {
    let recording = Recording::read_from(file).unwrap();
    let mut machine = Machine::builder().engine(EngineChoice::Soft).replay(&recording).unwrap();
    machine.set_time_limit(Duration::from_secs(20));
    match machine.run() {
        Ok(outcome) => Some((outcome, machine.streams().output.bytes().to_vec())),
        Err(RunError::Diverged(_)) => None,
        Err(error) => panic!("{error}"),
    }
}

fn fate(engine: EngineChoice, code: &[u8]) -> Fate {
    let (seen, file) = record(engine, code);
    let Some(again) = replay(&file) else { return NotRecorded };
    // A replay that says nothing is the run again.
    assert_eq!(again, seen, "{engine:?}: {code:02x?}");
    match &seen.0 {
        Outcome::Fault(_) => Refused,
        _ if record(EngineChoice::Soft, code).0 == seen && record(engine, code).0 == seen => Pinned,
        _ => Recorded,
    }
}

#[test]
fn each_row_has_code_and_each_code_a_row() {
    let rows: Vec<_> = table().into_iter().map(|(name, _)| name).collect();
    let codes: Vec<_> = codes().into_iter().map(|(name, _)| name).collect();
    assert_eq!(rows, codes);
}

#[test]
fn each_row_is_what_recordings_do() {
    for ((name, [soft, kvm]), (_, codes)) in table().into_iter().zip(codes()) {
        for &engine in engines() {
            let either = [&soft[..], &kvm].concat();
            let cell = match engine {
                EngineChoice::Soft => &soft,
                EngineChoice::Kvm => &kvm,
                _ => &either,
            };
            let fates = codes.iter().map(|code| fate(engine, &[code, SEND_REGISTERS].concat()));
            let fates: BTreeSet<_> = fates.collect();
            // Shown with `--nocapture`: what a cell that allows more than one comes to on this machine.
            println!("{name}: {engine:?}: {fates:?}");
            let allowed = |fate: &Fate| cell.iter().any(|cell| cell.may_look_like().contains(fate));
            assert!(
                fates.iter().all(allowed),
                "{engine:?}: the table says {cell:?} of {name}, and it is {fates:?}"
            );
            // What one cell says alone is true of some code of its row.
            if let [only] = cell[..] {
                assert!(
                    fates.contains(&only),
                    "{engine:?}: the table says {only:?} of {name}, and it is {fates:?}"
                );
            }
        }
    }
}
