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

#[test]
fn an_interrupt_ends_an_endless_loop() {
    let mut engine = machine(&[0xeb, 0xfe]); // jmp $
    let handle = engine.interrupt_handle();
    let interrupting = std::thread::spawn(move || handle.interrupt());
    assert!(matches!(engine.run().unwrap(), Exit::Interrupted));
    interrupting.join().unwrap();
    assert_eq!(engine.location().unwrap(), Location::At(0));
}
