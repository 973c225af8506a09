//! Steps, breakpoints, watchpoints, limits and interrupts.

use super::*;

#[test]
fn steps_breakpoints_and_limits() {
    // l: inc eax; out 0xe9, al; jmp l
    let mut engine = machine(&[0x40, 0xe6, 0xe9, 0xeb, 0xfb]);
    engine.set_stops(&Stops { step: true, ..Default::default() }).unwrap();
    assert_eq!(debug(&mut engine), DebugStop::Step);
    assert_eq!((engine.location().unwrap(), engine.registers().unwrap().eip), (Location::At(0), 1));
    out(&mut engine);
    assert_eq!(debug(&mut engine), DebugStop::Step);
    assert_eq!(engine.registers().unwrap().eip, 3);
    assert_eq!(debug(&mut engine), DebugStop::Step);
    assert_eq!(engine.registers().unwrap().eip, 0);

    engine.set_stops(&Stops { breakpoints: vec![0, 3], ..Default::default() }).unwrap();
    // The last stop was at 0, so it is not reported again.
    out(&mut engine);
    assert_eq!(debug(&mut engine), DebugStop::Breakpoint);
    assert_eq!(engine.location().unwrap(), Location::At(3));
    assert_eq!(debug(&mut engine), DebugStop::Breakpoint);
    assert_eq!(engine.location().unwrap(), Location::At(0));

    let done = engine.instructions().unwrap();
    engine.set_stops(&Stops { instructions: Some(done + 1000), ..Default::default() }).unwrap();
    loop {
        match engine.run().unwrap() {
            Exit::Out { .. } => {}
            Exit::Debug(stop) => break assert_eq!(stop, DebugStop::InstructionLimit),
            exit => panic!("{exit:?}"),
        }
    }
    assert_eq!(engine.instructions(), Some(done + 1000));
    assert_eq!(debug(&mut engine), DebugStop::InstructionLimit);
}

#[test]
fn watchpoints() {
    // mov eax, [0x100]; mov [0x102], al; inc dword [0x100]; push eax; hlt
    let mut engine = machine(&[0xa1, 0, 1, 0, 0, 0xa2, 2, 1, 0, 0, 0xff, 0x05, 0, 1, 0, 0, 0x50, 0xf4]);
    let watch = |kind| Watchpoint { address: 0x101, len: 2, kind };
    let stops = |kind| Stops { watchpoints: vec![watch(kind)], ..Default::default() };
    engine.set_stops(&stops(WatchKind::Write)).unwrap();
    assert_eq!(debug(&mut engine), DebugStop::Watchpoint { address: 0x102, access: Access::Write });
    assert_eq!((engine.location().unwrap(), engine.registers().unwrap().eip), (Location::At(5), 10));
    assert_eq!(debug(&mut engine), DebugStop::Watchpoint { address: 0x101, access: Access::Write });
    halt(&mut engine);

    engine.set_registers(&Registers { esp: RAM, ..Default::default() }).unwrap();
    engine.set_stops(&stops(WatchKind::Read)).unwrap();
    assert_eq!(debug(&mut engine), DebugStop::Watchpoint { address: 0x101, access: Access::Read });
    assert_eq!(debug(&mut engine), DebugStop::Watchpoint { address: 0x101, access: Access::Read });
    assert_eq!(engine.registers().unwrap().eip, 16);
    engine.set_stops(&Stops::default()).unwrap();
    halt(&mut engine);
}

#[test]
fn watchpoints_see_strings_and_output() {
    // rep stosb; outsb; hlt
    let mut engine = machine(&[0xf3, 0xaa, 0x6e, 0xf4]);
    engine
        .set_registers(&Registers { ecx: 0x20, edi: 0x100, esi: 0x108, eflags: 2, ..Default::default() })
        .unwrap();
    let watchpoint = Watchpoint { address: 0x108, len: 1, kind: WatchKind::Access };
    engine.set_stops(&Stops { watchpoints: vec![watchpoint], ..Default::default() }).unwrap();
    assert_eq!(debug(&mut engine), DebugStop::Watchpoint { address: 0x108, access: Access::Write });
    assert_eq!(engine.registers().unwrap().ecx, 0);
    out(&mut engine);
    assert_eq!(debug(&mut engine), DebugStop::Watchpoint { address: 0x108, access: Access::Read });
    halt(&mut engine);
}

/// Runs to `hlt`, and answers input. Returns each stop at a watchpoint: the count of instructions, the next one and
/// the access.
fn watched(code: &[u8], watchpoint: Watchpoint, step: bool) -> (Vec<(u64, u32, DebugStop)>, Registers) {
    // More than a portion of a repeated instruction.
    let mut engine = SoftEngine::new(MemorySize::mib(1));
    engine.write_ram(0, code);
    // An IDT with one gate, for the debug exception: to the `hlt` of the code.
    let handler = code.len() as u32 - 1;
    engine.write_ram(0x5000 + 3 * 8, &[handler as u8, 0, 8, 0, 0, 0x8e, 0, 0]);
    engine.set_stops(&Stops { watchpoints: vec![watchpoint], step, ..Stops::default() }).unwrap();
    let mut stops = Vec::new();
    loop {
        let stop = match engine.run().unwrap() {
            Exit::In { data, .. } => {
                data.fill(7);
                continue;
            }
            Exit::Out { .. } => continue,
            Exit::Halt => return (stops, engine.registers().unwrap()),
            Exit::Debug(stop) => stop,
            exit => panic!("{exit:?}"),
        };
        if stop != DebugStop::Step {
            stops.push((engine.instructions().unwrap(), engine.registers().unwrap().eip, stop));
        }
        assert!(stops.len() < 100);
    }
}

#[test]
fn stores_are_watched_at_full_speed_as_in_steps() {
    let cases: &[(&str, &[u8])] = &[
        (
            "mov [0x100], eax; inc eax; mov [0x104], eax; hlt",
            &[0xa3, 0, 1, 0, 0, 0x40, 0xa3, 4, 1, 0, 0, 0xf4],
        ),
        (
            "a store next to it, and one across its start",
            &[0xa3, 0x08, 1, 0, 0, 0xa3, 0xfd, 0, 0, 0, 0x40, 0xf4],
        ),
        ("mov esp, 0x104; call next; next: push eax; hlt", &[0xbc, 4, 1, 0, 0, 0xe8, 0, 0, 0, 0, 0x50, 0xf4]),
        (
            "mov edi, 0xf0; mov ecx, 0x20; rep stosb; inc eax; hlt",
            &[0xbf, 0xf0, 0, 0, 0, 0xb9, 0x20, 0, 0, 0, 0xf3, 0xaa, 0x40, 0xf4],
        ),
        (
            "std; mov edi, 0x21100; mov ecx, 0x21001; rep stosb (portions); inc eax; hlt",
            &[0xfd, 0xbf, 0, 0x11, 2, 0, 0xb9, 1, 0x10, 2, 0, 0xb0, 0x40, 0xf3, 0xaa, 0x40, 0xf4],
        ),
        (
            "mov edi, 0x100; mov esi, 0x200; mov ecx, 2; rep movsd; inc eax; hlt",
            &[0xbf, 0, 1, 0, 0, 0xbe, 0, 2, 0, 0, 0xb9, 2, 0, 0, 0, 0xf3, 0xa5, 0x40, 0xf4],
        ),
        (
            "mov edi, 0x100; mov ecx, 9; mov edx, 0xe9; rep insb; inc eax; hlt",
            &[0xbf, 0, 1, 0, 0, 0xb9, 9, 0, 0, 0, 0xba, 0xe9, 0, 0, 0, 0xf3, 0x6c, 0x40, 0xf4],
        ),
        ("mov edi, 0x100; insb; outsb; inc eax; hlt", &[0xbf, 0, 1, 0, 0, 0x6c, 0x6e, 0x40, 0xf4]),
        ("three times: inc dword [0x100]; loop", &[0xb9, 3, 0, 0, 0, 0xff, 5, 0, 1, 0, 0, 0xe2, 0xf8, 0xf4]),
        (
            "a store to the code behind it: mov byte [0x8], 0x41; inc eax; inc eax; hlt",
            &[0xc6, 5, 8, 0, 0, 0, 0x41, 0x40, 0x40, 0xf4],
        ),
        (
            "mov esp, 0x110; lidt [7-byte descriptor]; int3 to hlt",
            &[0xbc, 0x10, 1, 0, 0, 0x0f, 1, 0x1d, 15, 0, 0, 0, 0xcc, 0xeb, 6, 0xff, 0, 0, 0x50, 0, 0, 0xf4],
        ),
    ];
    let mut all = 0;
    for (name, code) in cases {
        for (address, len) in [(0x100, 4), (0x104, 1), (0x106, 2), (7, 2), (0xff, 9), (0, u32::MAX)] {
            let watchpoint = Watchpoint { address, len, kind: WatchKind::Write };
            let fast = watched(code, watchpoint, false);
            assert_eq!(fast, watched(code, watchpoint, true), "{name}, {watchpoint:?}");
            all += fast.0.len();
        }
    }
    assert_eq!(all, 54, "stops of all cases");
}

#[test]
fn an_interrupt_ends_an_endless_loop() {
    let mut engine = machine(&[0xeb, 0xfe]); // jmp $
    let handle = engine.interrupt_handle();
    let interrupting = std::thread::spawn(move || handle.interrupt());
    assert!(matches!(engine.run().unwrap(), Exit::Interrupted));
    interrupting.join().unwrap();
    assert_eq!(engine.location().unwrap(), Location::At(0));
}
