//! What an operating system does: handlers, pages, rings. A KVM that emulates does a part of it, and says where it stops.

use super::{On, engines, guest};

/// A program, what it prints, and where a KVM that emulates stops: what it may have printed last, and how the report
/// begins.
struct Case {
    name: &'static str,
    printed: &'static str,
    where_kvm_emulates: (&'static [&'static str], &'static str),
}

const IRETD: &str = "flatland: instruction KVM cannot run here: iretd at ";

const CASES: [Case; 4] = [
    Case {
        name: "handler",
        printed: "before\n#UD in segment 0x8: skipped\nbehind it\n",
        where_kvm_emulates: (&["skipped\n"], IRETD),
    },
    Case {
        name: "paging",
        printed: "paging is off\npaging is on\nwritten at 0x40000000, read where the page is: 42\n",
        where_kvm_emulates: (&["paging is off\n"], "flatland: "),
    },
    Case {
        name: "preemptive",
        printed: "ping 1\npong 1\nping 2\npong 2\nping 3\npong 3\nboth are done\n",
        // The timer follows the clock there.
        where_kvm_emulates: (&["", "ping 1\n"], IRETD),
    },
    Case {
        name: "user",
        printed: "in ring 0\na call from ring 3\nring 3 may not do that\n",
        where_kvm_emulates: (&["in ring 0\n"], IRETD),
    },
];

#[test]
fn programs_of_the_second_part_of_the_guide() {
    for Case { name, printed, where_kvm_emulates: (lasts, report) } in CASES {
        for on in engines() {
            let output = guest(on, name, &[], b"");
            let [stdout, stderr] =
                [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
            let ended = (output.status.code(), &*stdout, &*stderr);
            if on == On::Kvm && ended.0 != Some(0) {
                let end = |last: &&str| printed.find(last).expect("it prints this") + last.len();
                let may_be: Vec<_> = lasts.iter().map(|last| &printed[..end(last)]).collect();
                assert_eq!(ended.0, Some(134), "{name}: {stderr}");
                assert!(may_be.contains(&ended.1), "{name}: {stdout}");
                assert!(stderr.starts_with(report), "{name}: {stderr}");
            } else {
                assert_eq!(ended, (Some(0), printed, ""), "{name} on {on:?}");
            }
        }
    }
}
