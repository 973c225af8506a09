//! Steps and breakpoints, which both engines support with the same results.

mod common;

use common::{engines, machine_on};
use flatland::EngineChoice;
use flatland::x86::FaultKind;
use flatland::x86::{DebugStop, Engine, Exit, Position, Registers, Stops, WatchKind, Watchpoint};

/// Adds up 3 + 2 + 1, sends the sum, and halts.
#[rustfmt::skip]
const CODE: &[u8] = &[
    0xb9, 0x03, 0x00, 0x00, 0x00, //  0: mov ecx, 3
    0x31, 0xc0,                   //  5: xor eax, eax
    0x01, 0xc8,                   //  7: add eax, ecx
    0xe2, 0xfc,                   //  9: loop 7
    0xe6, 0xe9,                   //  b: out 0xe9, al
    0x90,                         //  d: nop
    0xf4,                         //  e: hlt
];

/// The events until the guest halted or faulted, and EIP at each.
fn story(engine: EngineChoice, code: &[u8], stops: &Stops) -> Vec<(String, u32)> {
    let mut machine = machine_on(engine, code, b"");
    let engine = machine.engine();
    engine.set_stops(stops).expect("every engine can do that");
    let mut story = Vec::new();
    loop {
        let (what, is_end) = match engine.run().expect("the engine works") {
            Exit::Debug(stop) => (format!("{stop:?}"), false),
            Exit::Out { port, data, .. } => (format!("out {port:#x} {data:?}"), false),
            Exit::Halt => ("halt".into(), true),
            Exit::Fault(fault) => (format!("{:?}", fault.kind), true),
            other => panic!("{other:?}"),
        };
        // EIP at an `out` differs between KVMs, so it is not compared.
        let eip = if what.starts_with("out") { 0 } else { engine.registers().expect("they can be read").eip };
        story.push((what, eip));
        assert!(story.len() < 100, "it goes on and on: {story:?}");
        if is_end {
            return story;
        }
    }
}

fn told(story: &[(&str, u32)]) -> Vec<(String, u32)> {
    story.iter().map(|(what, eip)| ((*what).to_owned(), *eip)).collect()
}

#[test]
fn every_instruction_is_a_step() {
    let stops = Stops { step: true, ..Stops::default() };
    let mut expected = vec![("Step", 5), ("Step", 7)];
    expected.extend([("Step", 9), ("Step", 7), ("Step", 9), ("Step", 7), ("Step", 9), ("Step", 0xb)]);
    expected.extend([("out 0xe9 [6]", 0), ("Step", 0xd), ("Step", 0xe), ("halt", 0xf)]);
    for engine in engines() {
        assert_eq!(story(*engine, CODE, &stops), told(&expected), "{engine:?}");
    }
}

#[test]
fn breakpoints_stop_before_their_instruction_each_time() {
    let stops = Stops { breakpoints: vec![0, 9, 0xe], ..Stops::default() };
    let expected = [
        ("Breakpoint", 0),
        ("Breakpoint", 9),
        ("Breakpoint", 9),
        ("Breakpoint", 9),
        ("out 0xe9 [6]", 0),
        ("Breakpoint", 0xe),
        ("halt", 0xf),
    ];
    for engine in engines() {
        assert_eq!(story(*engine, CODE, &stops), told(&expected), "{engine:?}");
    }
}

#[test]
fn a_breakpoint_stops_where_a_snapshot_goes_on() {
    for engine in engines() {
        let mut machine = machine_on(*engine, CODE, b"");
        let engine = machine.engine();
        engine.set_stops(&Stops { breakpoints: vec![7], ..Stops::default() }).unwrap();
        let stops_at_7 = |engine: &mut dyn Engine| {
            assert!(matches!(engine.run(), Ok(Exit::Debug(DebugStop::Breakpoint))));
            let registers = engine.registers().unwrap();
            (registers.eip, registers.ecx)
        };
        assert_eq!(stops_at_7(engine), (7, 3));
        engine.settle(0).unwrap();
        let ((processor, position), ram) = (engine.processor().unwrap(), engine.save_ram().unwrap());
        assert_eq!(stops_at_7(engine), (7, 2));
        let position = Position { was_reported: false, ..position };
        engine.set_processor(&processor, position).unwrap();
        engine.restore_ram(&ram).unwrap();
        assert_eq!(stops_at_7(engine), (7, 3));
        assert_eq!(stops_at_7(engine), (7, 2));
    }
}

#[test]
fn there_may_be_more_breakpoints_than_debug_registers() {
    let stops = Stops { breakpoints: vec![0x5, 0x7, 0xb, 0xd, 0xe, 0x2000], ..Stops::default() };
    let expected = [
        ("Breakpoint", 5),
        ("Breakpoint", 7),
        ("Breakpoint", 7),
        ("Breakpoint", 7),
        ("Breakpoint", 0xb),
        ("out 0xe9 [6]", 0),
        ("Breakpoint", 0xd),
        ("Breakpoint", 0xe),
        ("halt", 0xf),
    ];
    for engine in engines() {
        assert_eq!(story(*engine, CODE, &stops), told(&expected), "{engine:?}");
    }
}

#[test]
fn input_that_finds_no_memory_is_a_fault_and_no_step() {
    // 0: mov edx, 0xee; 5: mov edi, 0x8000_0000; a: insb
    let code = [0xba, 0xee, 0, 0, 0, 0xbf, 0, 0, 0, 0x80, 0x6c];
    let stops = Stops { step: true, ..Stops::default() };
    for engine in engines() {
        let mut machine = machine_on(*engine, &code, b"");
        let engine = machine.engine();
        engine.set_stops(&stops).unwrap();
        let mut exits = Vec::new();
        let kind = loop {
            match engine.run().expect("the engine works") {
                Exit::Fault(fault) => break fault.kind,
                exit => exits.push(format!("{exit:?}")),
            }
        };
        assert!(exits[..2].iter().all(|exit| exit == "Debug(Step)"), "{exits:?}");
        assert!(exits.len() == 2 || exits.len() == 3 && exits[2].starts_with("In"), "{exits:?}");
        assert!(matches!(kind, FaultKind::OutsideRam { .. }), "{kind:?}");
    }
}

#[test]
fn input_that_finds_no_memory_can_be_given_up() {
    let code = [0xba, 0xee, 0, 0, 0, 0xbf, 0, 0, 0, 0x80, 0xf3, 0x6c];
    for engine in engines() {
        let mut machine = machine_on(*engine, &code, b"");
        let engine = machine.engine();
        let mut registers = engine.registers().unwrap();
        registers.ecx = 100;
        engine.set_registers(&registers).unwrap();
        // The soft engine finds the fault before it asks for input.
        if let Exit::In { .. } = engine.run().expect("the engine works") {
            engine.set_registers(&Registers { eip: 0, ..registers }).expect("whatever comes of it");
            assert_eq!(engine.registers().unwrap().eip, 0);
        }
    }
}

#[test]
fn an_exception_is_no_step() {
    // 0: nop; 1: ud2
    let stops = Stops { step: true, ..Stops::default() };
    let expected = [("Step", 1), ("Exception { vector: 6, error_code: None }", 1)];
    for engine in engines() {
        assert_eq!(story(*engine, &[0x90, 0x0f, 0x0b], &stops), told(&expected), "{engine:?}");
    }
}

#[test]
fn what_was_set_is_taken_back() {
    for engine in engines() {
        let mut machine = machine_on(*engine, CODE, b"");
        let processor = machine.engine();
        processor.set_stops(&Stops { step: true, ..Stops::default() }).unwrap();
        assert!(matches!(processor.run().unwrap(), Exit::Debug(DebugStop::Step)), "{engine:?}");
        processor.set_stops(&Stops::default()).unwrap();
        assert!(matches!(processor.run().unwrap(), Exit::Out { .. }), "{engine:?}");
        assert!(matches!(processor.run().unwrap(), Exit::Halt), "{engine:?}");
    }
}

#[test]
fn kvm_says_what_it_cannot() {
    for engine in engines().iter().filter(|engine| **engine == EngineChoice::Kvm) {
        let mut machine = machine_on(*engine, CODE, b"");
        let watch = Watchpoint { address: 0x1000, len: 4, kind: WatchKind::Write };
        for (stops, message) in [
            (
                Stops { watchpoints: vec![watch], ..Stops::default() },
                "KVM cannot watch memory: run it with the soft engine",
            ),
            (
                Stops { instructions: Some(5), ..Stops::default() },
                "KVM cannot count instructions: run it with the soft engine",
            ),
        ] {
            assert_eq!(machine.engine().set_stops(&stops).unwrap_err().to_string(), message);
        }
    }
}

#[test]
fn a_breakpoint_that_was_told_is_not_told_again_after_an_interrupt_or_other_stops() {
    for engine in engines() {
        let mut machine = machine_on(*engine, CODE, b"");
        let processor = machine.engine();
        let stops = Stops { breakpoints: vec![9], ..Stops::default() };
        processor.set_stops(&stops).unwrap();
        assert!(matches!(processor.run().unwrap(), Exit::Debug(DebugStop::Breakpoint)), "{engine:?}");
        processor.set_stops(&stops).unwrap();
        processor.interrupt_handle().interrupt();
        assert!(matches!(processor.run().unwrap(), Exit::Interrupted), "{engine:?}");
        assert!(matches!(processor.run().unwrap(), Exit::Debug(DebugStop::Breakpoint)), "{engine:?}");
        // This is the second round of the loop.
        assert_eq!(processor.registers().unwrap().ecx, 2, "{engine:?}");
    }
}

/// Reserved flags keep their values in a processor when a debugger writes to them. A debugger cannot set VM and RF.
#[test]
fn flags_that_a_processor_does_not_have_cannot_be_set() {
    // pushf; pop eax; hlt
    let code = [0x9c, 0x58, 0xf4];
    const ALL_BUT_TF: u32 = 0xffff_feff;
    for engine in engines() {
        for (written, held) in [(0, 2), (0x0a00_0000, 2), (0x0003_802a, 2), (ALL_BUT_TF, 0x003c_7ed7)] {
            let mut machine = machine_on(*engine, &code, b"");
            let engine = machine.engine();
            let registers = engine.registers().unwrap();
            engine.set_registers(&Registers { eflags: written, ..registers }).unwrap();
            let (name, now) = (engine.name(), engine.registers().unwrap().eflags);
            assert_eq!(now, held, "{name}: {now:#x} of {written:#x}");
            assert!(matches!(engine.run(), Ok(Exit::Halt)), "{name} {written:#x}");
            let seen = engine.registers().unwrap().eax;
            assert_eq!(seen, held, "{name}: {seen:#x} of {written:#x}");
        }
    }
}

/// Steps through a program to its end, and returns EIP, ECX, ESI, EDI and EFLAGS after each step.
fn steps(engine: &mut dyn Engine) -> Vec<(String, [u32; 5])> {
    engine.set_stops(&Stops { step: true, ..Stops::default() }).expect("every engine can do that");
    let mut steps = Vec::new();
    loop {
        let what = match engine.run().expect("the engine works") {
            Exit::Debug(stop) => format!("{stop:?}"),
            Exit::In { data, .. } => {
                data.fill(7);
                continue;
            }
            Exit::Out { .. } => continue,
            Exit::Halt => "halt".into(),
            Exit::Fault(fault) => format!("{:?}", fault.kind),
            other => panic!("{other:?}"),
        };
        let Registers { eip, ecx, esi, edi, eflags, .. } = engine.registers().expect("they can be read");
        let is_end = !what.starts_with("Step");
        steps.push((what, [eip, ecx, esi, edi, eflags]));
        assert!(steps.len() < 200, "it goes on and on: {steps:x?}");
        if is_end {
            return steps;
        }
    }
}

/// Every repeated instruction is one step, for any number of iterations.
#[test]
fn a_repeated_instruction_is_one_step() {
    let repeated: [&[u8]; 18] = [
        &[0xf3, 0xa4],       // rep movsb
        &[0xf3, 0x66, 0xa5], // rep movsw
        &[0xf3, 0xa5],       // rep movsd
        &[0xf3, 0xaa],       // rep stosb
        &[0xf2, 0xab],       // repne stosd
        &[0xf3, 0xac],       // rep lodsb
        &[0xf3, 0xad],       // rep lodsd
        &[0xf3, 0xa6],       // repe cmpsb
        &[0xf2, 0xa7],       // repne cmpsd
        &[0xf3, 0xae],       // repe scasb
        &[0xf2, 0xaf],       // repne scasd
        &[0xf3, 0x6e],       // rep outsb
        &[0xf3, 0x6c],       // rep insb
        &[0x67, 0xf3, 0xa4], // rep movsb, by CX, SI and DI
        &[0x67, 0xf3, 0x6c], // rep insb, the same
        &[0xa4],             // movsb
        &[0x6c],             // insb
        &[0x6e],             // outsb
    ];
    for code in repeated {
        for count in [0, 1, 2, 5, 600] {
            let mut stories = Vec::new();
            for engine in engines() {
                // mov eax, 0x01010101; the instruction; inc ebx; hlt
                let start = 0x100;
                let image = [&vec![0x90; start][..], &[0xb8, 1, 1, 1, 1], code, &[0x43, 0xf4]].concat();
                let mut machine = machine_on(*engine, &image, b"");
                let engine = machine.engine();
                let registers = Registers {
                    eip: start as u32,
                    ecx: count,
                    edx: 0xe9,
                    esi: 0x4000,
                    edi: 0x8000,
                    esp: 0x2000,
                    eflags: 2,
                    ..Registers::default()
                };
                engine.set_registers(&registers).unwrap();
                stories.push(steps(engine));
            }
            let end = (0x105 + code.len()) as u32;
            let eips: Vec<_> = stories[0].iter().map(|(_, registers)| registers[0]).collect();
            assert_eq!(eips, [0x105, end, end + 1, end + 2], "{code:02x?} {count}");
            for other in &stories[1..] {
                assert_eq!(stories[0], *other, "{code:02x?} {count}");
            }
        }
    }
}

#[test]
fn a_breakpoint_at_a_repeated_instruction_stops_once() {
    // 0: mov ecx, 5; 5: mov edi, 0x8000; a: rep stosb; c: hlt
    let code = [0xb9, 5, 0, 0, 0, 0xbf, 0, 0x80, 0, 0, 0xf3, 0xaa, 0xf4];
    for breakpoints in [vec![0xa], vec![0xa, 0x2000, 0x2001, 0x2002, 0x2003, 0x2004]] {
        let stops = Stops { breakpoints, ..Stops::default() };
        for engine in engines() {
            let expected = told(&[("Breakpoint", 0xa), ("halt", 0xd)]);
            assert_eq!(story(*engine, &code, &stops), expected, "{engine:?} {stops:?}");
        }
    }
}

/// A guest that sets TF and has a handler for it: its address is 0x100, and it halts.
/// 0: lidt [0x40]; 7: push 0x102; c: popf; d: inc ebx; e: inc ebx; f: hlt
fn traced_by_itself() -> Vec<u8> {
    let code = [0x0f, 0x01, 0x1d, 0x40, 0, 0, 0, 0x68, 2, 1, 0, 0, 0x9d, 0x43, 0x43, 0xf4];
    let mut image = vec![0; 0x110];
    image[..code.len()].copy_from_slice(&code);
    // The IDT lies at 0x80; its second gate is that of #DB, to 8:0x100.
    image[0x40..0x46].copy_from_slice(&[0xff, 0, 0x80, 0, 0, 0]);
    image[0x88..0x90].copy_from_slice(&[0, 1, 8, 0, 0, 0x8e, 0, 0]);
    // pop eax; pushf; hlt
    image[0x100..0x103].copy_from_slice(&[0x58, 0x9c, 0xf4]);
    image
}

#[test]
fn a_guest_that_traces_itself_reaches_its_handler_whatever_is_set() {
    let image = traced_by_itself();
    let steps =
        [("Step", 7), ("Step", 0xc), ("Step", 0xd), ("Step", 0x100), ("Step", 0x101), ("Step", 0x102)];
    let breakpoint = |at| vec![("Breakpoint", at), ("halt", 0x103)];
    for (stops, expected) in [
        (Stops::default(), vec![("halt", 0x103)]),
        (Stops { step: true, ..Stops::default() }, [&steps[..], &[("halt", 0x103)]].concat()),
        (Stops { breakpoints: vec![0xd], ..Stops::default() }, breakpoint(0xd)),
        (Stops { breakpoints: vec![0x100], ..Stops::default() }, breakpoint(0x100)),
        (Stops { breakpoints: vec![0xf], ..Stops::default() }, vec![("halt", 0x103)]),
        (
            Stops { breakpoints: vec![0x101, 0x200, 0x201, 0x202, 0x203], ..Stops::default() },
            breakpoint(0x101),
        ),
    ] {
        for engine in engines() {
            assert_eq!(story(*engine, &image, &stops), told(&expected), "{engine:?} {stops:?}");
            let mut machine = machine_on(*engine, &image, b"");
            let engine = machine.engine();
            engine.set_stops(&stops).unwrap();
            while let Exit::Debug(_) = engine.run().unwrap() {}
            // The trap's frame has TF set, and the handler's flags have it clear.
            let mut stack = [0; 12];
            let Registers { eax, esp, ebx, .. } = engine.registers().unwrap();
            engine.read_ram(esp, &mut stack);
            let words = stack
                .as_chunks::<4>()
                .0
                .iter()
                .map(|word| u32::from_le_bytes(*word) & 0xffff)
                .collect::<Vec<_>>();
            assert_eq!(
                (eax, ebx, &words[..]),
                (0xe, 1, &[0x002, 8, 0x102][..]),
                "{} {stops:?}",
                engine.name()
            );
        }
    }
}

#[test]
fn a_guest_that_traces_itself_without_a_handler_faults_whatever_is_set() {
    // 0: push 0x102; 5: popf; 6: inc ebx; 7: inc ebx; 8: hlt
    let code = [0x68, 2, 1, 0, 0, 0x9d, 0x43, 0x43, 0xf4];
    let fault = ("Exception { vector: 1, error_code: None }", 7);
    for (stops, expected) in [
        (Stops::default(), vec![fault]),
        (Stops { step: true, ..Stops::default() }, vec![("Step", 5), ("Step", 6), fault]),
        (Stops { breakpoints: vec![6, 8], ..Stops::default() }, vec![("Breakpoint", 6), fault]),
    ] {
        for engine in engines() {
            assert_eq!(story(*engine, &code, &stops), told(&expected), "{engine:?} {stops:?}");
        }
    }
}

/// A step over an instruction that faults, or that is a software interrupt, leads to the guest's own handler.
#[test]
fn a_step_goes_into_the_handler_of_a_fault() {
    // 0: lidt [0x40]; 7: the instruction
    for (code, vector, has_error_code) in [
        (&[0x0f, 0x0b][..], 6, false),
        (&[0xf7, 0xf1], 0, false),
        // mov ss, eax
        (&[0x8e, 0xd0], 13, true),
    ] {
        let mut image = vec![0; 0x110];
        image[..7].copy_from_slice(&[0x0f, 0x01, 0x1d, 0x40, 0, 0, 0]);
        image[7..7 + code.len()].copy_from_slice(code);
        image[0x40..0x46].copy_from_slice(&[0xff, 0, 0x80, 0, 0, 0]);
        image[0x80 + vector * 8..][..8].copy_from_slice(&[0, 1, 8, 0, 0, 0x8e, 0, 0]);
        // pop eax; hlt
        image[0x100..0x102].copy_from_slice(&[0x58, 0xf4]);
        let stops = Stops { step: true, ..Stops::default() };
        let expected = [("Step", 7), ("Step", 0x100), ("Step", 0x101), ("halt", 0x102)];
        for engine in engines() {
            assert_eq!(story(*engine, &image, &stops), told(&expected), "{engine:?} {code:02x?}");
            let mut machine = machine_on(*engine, &image, b"");
            let engine = machine.engine();
            engine.set_stops(&stops).unwrap();
            while let Exit::Debug(_) = engine.run().unwrap() {}
            let mut stack = [0; 4];
            let esp = engine.registers().unwrap().esp + if has_error_code { 8 } else { 4 };
            engine.read_ram(esp, &mut stack);
            assert_eq!(u32::from_le_bytes(stack) & 0x1ff, 2, "{} {code:02x?}", engine.name());
        }
    }
}

#[test]
fn steps_leave_the_stack_as_it_is() {
    // 0: push 0x100, three times; f: call 0x14; 14: pushf; 15: hlt
    let push = [0x68, 0, 1, 0, 0];
    let code = [&push.repeat(3)[..], &[0xe8, 0, 0, 0, 0, 0x9c, 0xf4]].concat();
    for engine in engines() {
        let mut machine = machine_on(*engine, &code, b"");
        let engine = machine.engine();
        engine.set_stops(&Stops { step: true, ..Stops::default() }).unwrap();
        while let Exit::Debug(_) = engine.run().unwrap() {}
        let mut stack = [0; 20];
        let esp = engine.registers().unwrap().esp;
        engine.read_ram(esp, &mut stack);
        let words = stack.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect::<Vec<_>>();
        assert_eq!(words, [2, 0x14, 0x100, 0x100, 0x100], "{}", engine.name());
    }
}
