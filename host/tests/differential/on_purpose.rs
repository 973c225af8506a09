//! A bug that is put into the soft engine on purpose is found by the same comparison as in the other tests.

use flatland::x86::Engine;
use iced_x86::Mnemonic;

use super::case::case;
use super::catalogue::forms;
use super::random::Random;
use super::subject::{After, Before, Soft, Subject};
use super::trace::trace;
use super::verdict::Tally;

/// The soft engine, with EFLAGS and EAX changed after each instruction with this mnemonic.
struct WithBug {
    after: Mnemonic,
    flags_inverted: u32,
    off_by: u32,
}

impl Subject for WithBug {
    fn name(&self) -> &'static str {
        "soft with a bug"
    }

    fn run(&mut self, before: &Before) -> After {
        trace(before, |instruction, engine| {
            if instruction.mnemonic() == self.after {
                let mut registers = engine.registers().expect("it has registers");
                registers.eflags ^= self.flags_inverted;
                registers.eax = registers.eax.wrapping_add(self.off_by);
                engine.set_registers(&registers).expect("the registers can be set");
            }
        })
        .after
    }
}

fn differences(mut ours: impl Subject) -> u32 {
    let forms = forms();
    let mut tally = Tally::default();
    for seed in 1..=forms.len() as u64 {
        let form = &forms[seed as usize % forms.len()];
        tally.case(seed, &case(form, &mut Random::new(seed)), &mut ours, &mut Soft);
    }
    tally.print(&format!("on purpose: {} and soft", ours.name()));
    tally.differences()
}

#[test]
fn a_bug_is_found() {
    let bug = |after, flags_inverted, off_by| WithBug { after, flags_inverted, off_by };
    assert_eq!(differences(bug(Mnemonic::Adc, 0, 0)), 0, "there is no bug in it");
    assert!(differences(bug(Mnemonic::Adc, 1, 0)) > 0, "CF of adc is inverted");
    assert!(differences(bug(Mnemonic::Sar, 0, 1)) > 0, "EAX is one too much after sar");
}
