//! The choice of the engine, and its messages.

use super::*;

/// Runs flatland with a /dev that holds only what this script puts there, as a user without any rights.
fn with_another_dev(engine: &str, test: &str, script: &str) -> Output {
    let script = format!(
        "exec unshare --map-root-user --mount bash -c 'mount -t tmpfs none /dev && {script} && exec unshare \
         --user $flatland $image'"
    );
    let output = shell(engine, &script, &image(test, SAY_AND_FAULT)).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        stderr.starts_with("flatland: "),
        "this test needs user namespaces, and this is what it got: {stderr}"
    );
    output
}

#[test]
fn without_kvm_there_is_advice() {
    let message = "flatland: there is no /dev/kvm: KVM needs Linux on a processor with virtualization \
                   enabled; load its module with `sudo modprobe kvm-intel` or `sudo modprobe kvm-amd`, or \
                   enable nested virtualization if this is itself a virtual machine; or choose --engine soft\n";
    assert_ended(with_another_dev("kvm", "no-kvm", "true"), 125, "", message);
}

#[test]
fn without_permission_for_kvm_there_is_advice() {
    let message = "flatland: no permission to open /dev/kvm: no group has access; give it to group `kvm` with \
                   `sudo groupadd -f kvm; sudo chgrp kvm /dev/kvm; sudo chmod g+rw /dev/kvm`, join with `sudo \
                   usermod -aG kvm $USER` and log in again; or choose --engine soft\n";
    let script = "touch /dev/kvm && chmod 000 /dev/kvm";
    assert_ended(with_another_dev("kvm", "no-permission", script), 125, "", message);
}

#[test]
fn another_kvm_device_is_not_taken_for_it() {
    let script = "touch /dev/kvm && chmod 666 /dev/kvm";
    let message =
        "flatland: /dev/kvm is not KVM's device: look at it with `ls -l /dev/kvm`; or choose --engine soft\n";
    assert_ended(with_another_dev("kvm", "not-kvm", script), 125, "", message);
}

#[test]
fn auto_falls_back_and_says_why() {
    let message = format!(
        "flatland: running on the soft engine, because there is no /dev/kvm: KVM needs Linux on a processor with \
         virtualization enabled; load its module with `sudo modprobe kvm-intel` or `sudo modprobe kvm-amd`, or \
         enable nested virtualization if this is itself a virtual machine\n\
         flatland: invalid opcode (#UD) at 0x00000004: {EXCEPTION}\n"
    );
    assert_ended(with_another_dev("auto", "fall-back", "true"), 134, "A", &message);
}

#[test]
fn auto_takes_the_engine_that_can_do_what_is_asked_for() {
    let options = ["--max-instructions", "3"];
    let output = flatland("auto").args(options).arg(image("limit", SAY_FOR_EVER)).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    let notice = "flatland: running on the soft engine, because KVM cannot count instructions: give --engine soft to leave \
                  out this line\n";
    let without_kvm = !common::engines().contains(&flatland::EngineChoice::Kvm);
    assert!(stderr.starts_with(notice) || without_kvm, "{stderr}");
    let message = "flatland: limit of 3 instructions reached, the guest at 0x00000002: give it more with \
                   --max-instructions COUNT\n";
    assert!(stderr.ends_with(message), "{stderr}");
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(124), &b"y"[..]));
}

#[test]
fn what_kvm_cannot_do_is_said_once_with_one_advice() {
    if common::engines().contains(&flatland::EngineChoice::Kvm) {
        let message = "flatland: KVM cannot count instructions: choose --engine soft\n";
        assert_run("kvm", "no-count", HALT, &["--max-instructions", "3"], 125, "", message);
    }
}

#[test]
fn stats_are_one_line_in_the_end() {
    let output = flatland("soft").arg("--stats").arg(image("stats", SAY_AND_ASK)).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    let expected = "flatland: stats: soft, 2 instructions, 2 exits for I/O, console in 1 (0 bytes), console out 1 (1 \
                    bytes), 0 interrupts, ";
    assert!(stderr.starts_with(expected) && stderr.contains(" ms; sandbox of "), "{stderr}");
    assert_eq!((output.status.code(), &output.stdout[..], stderr.lines().count()), (Some(0), &b"A"[..], 1));
}
