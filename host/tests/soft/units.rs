//! When instructions of x87, MMX and SSE are refused: by CR0 and CR4 (SDM volume 3, table 2-2 and section 15.1), and by
//! exceptions that are not masked. A process on the processor cannot change these registers, so `differential` cannot compare
//! this.

use flatland::x86::{Engine, Exit, FaultKind, Location, cr0, cr4};

use super::machine;

const FLD1: &[u8] = &[0xd9, 0xe8];
const FNINIT: &[u8] = &[0xdb, 0xe3];
const WAIT: &[u8] = &[0x9b];
/// paddb mm0, mm1
const MMX: &[u8] = &[0x0f, 0xfc, 0xc1];
/// addps xmm0, xmm1
const SSE: &[u8] = &[0x0f, 0x58, 0xc1];
/// fxsave [0x1000]
const FXSAVE: &[u8] = &[0x0f, 0xae, 0x05, 0, 0x10, 0, 0];
/// movnti [0x1000], eax; sfence; prefetcht0 [0x1000]; popcnt eax, eax
const NO_UNIT: &[u8] = &[
    0x0f, 0xc3, 0x05, 0, 0x10, 0, 0, 0x0f, 0xae, 0xf8, 0x0f, 0x18, 0x0d, 0, 0x10, 0, 0, 0xf3, 0x0f, 0xb8,
    0xc0,
];

const UD: Option<u8> = Some(6);
const NM: Option<u8> = Some(7);

/// The exception of code that ends with `hlt`, and its address.
fn exception(code: &[u8], cr0: u32, cr4: u32) -> Option<(u8, u32)> {
    let mut engine = machine(&[code, &[0xf4]].concat());
    let (mut state, position) = engine.processor().unwrap();
    (state.cr0, state.cr4) = (state.cr0 | cr0, cr4);
    engine.set_processor(&state, position).unwrap();
    match engine.run().unwrap() {
        Exit::Halt => None,
        Exit::Fault(fault) => match (fault.kind, fault.location) {
            (FaultKind::Exception { vector, .. }, Location::At(at)) => Some((vector, at)),
            _ => panic!("{fault:?}"),
        },
        exit => panic!("{exit:?}"),
    }
}

#[test]
fn units_that_are_switched_off() {
    let all = cr4::OSFXSR | cr4::OSXMMEXCPT;
    let (em, ts, mp) = (cr0::EM, cr0::TS, cr0::MP);
    for (code, cr0, cr4, vector) in [
        (FLD1, 0, 0, None),
        (FLD1, mp, 0, None),
        (FLD1, em, 0, NM),
        (FLD1, ts, 0, NM),
        (FNINIT, ts, 0, NM),
        (WAIT, em, 0, None),
        (WAIT, ts, 0, None),
        (WAIT, mp, 0, None),
        (WAIT, ts | mp, 0, NM),
        (MMX, 0, 0, None),
        (MMX, em, 0, UD),
        (MMX, em | ts, 0, UD),
        (MMX, ts, 0, NM),
        (SSE, 0, all, None),
        (SSE, 0, 0, UD),
        (SSE, em, all, UD),
        (SSE, ts, all, NM),
        (SSE, ts, 0, UD),
        (FXSAVE, 0, 0, None),
        (FXSAVE, em, all, NM),
        (FXSAVE, ts, all, NM),
        (NO_UNIT, em | ts, 0, None),
    ] {
        assert_eq!(
            exception(code, cr0, cr4).map(|(vector, _)| vector),
            vector,
            "{code:02x?} {cr0:#x} {cr4:#x}"
        );
    }
}

#[test]
#[rustfmt::skip]
fn exceptions_that_are_not_masked() {
    // An x87 exception comes before the next instruction that waits, whatever CR0.NE says.
    let zero_divide = [
        0x68, 0x3b, 3, 0, 0, // 0: push 0x33b
        0xd9, 0x2c, 0x24,    // 5: fldcw [esp]
        0xd9, 0xe8,          // 8: fld1
        0xd9, 0xee,          // a: fldz
        0xde, 0xf9,          // c: fdivp st1, st0
        0xdf, 0xe0,          // e: fnstsw ax
        0x9b,                // 10: wait
    ];
    for ne in [0, 1 << 5] {
        assert_eq!(exception(&zero_divide, ne, 0), Some((16, 0x10)));
    }
    // One of SSE comes at once: #XM, or #UD if the guest does not handle that.
    let sse = [
        0x68, 0x80, 0x1f, 0, 0, // 0: push 0x1f80
        0x0f, 0xae, 0x14, 0x24, // 5: ldmxcsr [esp]
        0x6a, 1,                // 9: push 1
        0xf3, 0x0f, 0x5e, 0xc1, // b: divss xmm0, xmm1
        0xf3, 0x0f, 0x10, 0x14, 0x24, // f: movss xmm2, [esp]
        0xf3, 0x0f, 0x5e, 0xd1, // 14: divss xmm2, xmm1
    ];
    assert_eq!(exception(&sse, 0, cr4::OSFXSR), None);
    let mut unmasked = sse;
    unmasked[2] = 0x1d;
    // A number divided by zero; 0 / 0 before it is invalid, which is masked.
    assert_eq!(exception(&unmasked, 0, cr4::OSFXSR), Some((6, 0x14)));
    assert_eq!(exception(&unmasked, 0, cr4::OSFXSR | cr4::OSXMMEXCPT), Some((19, 0x14)));
    // Bits of MXCSR that do not exist: ldmxcsr of 0x10000.
    let reserved = [0x68, 0, 0, 1, 0, 0x0f, 0xae, 0x14, 0x24];
    assert_eq!(exception(&reserved, 0, cr4::OSFXSR), Some((13, 5)));
    // movaps xmm0, [0x1008]; fxrstor [0x1008]
    assert_eq!(exception(&[0x0f, 0x28, 0x05, 8, 0x10, 0, 0], 0, cr4::OSFXSR), Some((13, 0)));
    assert_eq!(exception(&[0x0f, 0xae, 0x0d, 8, 0x10, 0, 0], 0, 0), Some((13, 0)));
}

/// Values of several lines and pages are stored whole or not at all, and code that they change is decoded anew.
#[test]
fn stores_of_many_bytes() {
    // fxsave [0xff00], which ends beyond RAM after 288 of its bytes
    let mut engine = machine(&[0x0f, 0xae, 0x05, 0x00, 0xff, 0, 0, 0xf4]);
    let before = engine.save_ram().unwrap();
    assert!(matches!(engine.run().unwrap(), Exit::Fault(_)));
    assert_eq!(engine.save_ram().unwrap(), before);
    // 0: mov ecx, 2; 5: call 0x48; a: fnsave [0x40]; 10: loop 5; 12: hlt; 48: ret, which fnsave replaces: its tag word
    // at 0x48 is 0xffff
    let mut code = vec![0xb9, 2, 0, 0, 0, 0xe8, 0x3e, 0, 0, 0, 0xdd, 0x35, 0x40, 0, 0, 0, 0xe2, 0xf3, 0xf4];
    code.resize(0x48, 0xf4);
    code.push(0xc3);
    let mut engine = machine(&code);
    let Exit::Fault(fault) = engine.run().unwrap() else { panic!("0xff 0xff is no instruction") };
    assert_eq!((fault.kind, fault.location), (super::exception(6, None), Location::At(0x48)));
}
