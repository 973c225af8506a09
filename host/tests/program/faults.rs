//! Faults: their names, and the output before them, of which nothing is lost.

use super::*;

on_each_engine! {
    faults_are_named,
    output_before_a_fault_is_not_lost,
}

fn faults_are_named(engine: &str) {
    let fault = |test, code: &[u8], message: &str| {
        assert_run(engine, test, code, &[], 134, "", &format!("flatland: {message}\n"));
    };
    // 0: mov dx, 0x3f8; 4: out dx, al
    let message = format!("unknown port 0x3f8 (out, 1 byte) at 0x00000004: {PORTS}");
    fault("port", &[0x66, 0xba, 0xf8, 0x03, 0xee], &message);
    // 0: xor ecx, ecx; 2: div ecx
    let message = format!("divide error (#DE) at 0x00000002: {EXCEPTION}");
    fault("divide", &[0x31, 0xc9, 0xf7, 0xf1], &message);
    // 0: mov [0x2000000], al
    let message = "write outside RAM at 0x2000000 (RAM ends at 0x1000000), by the instruction at 0x00000000: mend the \
                   pointer, or give more RAM with --memory SIZE";
    fault("write", &[0xa2, 0, 0, 0, 2], message);
    // 0: mov eax, 0x2000000; 5: jmp eax
    let message = "execution outside RAM at 0x02000000: RAM ends at 0x01000000: look for a jump that went wrong, or \
                   code that runs on past its end for want of a `hlt`";
    fault("jump", &[0xb8, 0, 0, 0, 2, 0xff, 0xe0], message);
}

fn output_before_a_fault_is_not_lost(engine: &str) {
    let message = format!("flatland: invalid opcode (#UD) at 0x00000004: {EXCEPTION}\n");
    assert_run(engine, "before-fault", SAY_AND_FAULT, &[], 134, "A", &message);
}
