//! Each form of instruction with random operands, on the soft engine and on others.

use super::case::case;
use super::catalogue::forms;
use super::random::{Random, seeds};
use super::subject::{Kvm, Soft, Subject};
use super::unicorn::UnicornSubject;
use super::verdict::Tally;

#[test]
fn each_form_against_kvm() {
    let Some(mut kvm) = Kvm::to_compare_with() else { return };
    compare_with(&mut kvm);
}

#[test]
#[ignore = "it needs libunicorn2: `cargo xtask differential --unicorn`"]
fn each_form_against_unicorn() {
    compare_with(&mut UnicornSubject::to_compare_with());
}

fn compare_with(other: &mut impl Subject) {
    let forms = forms();
    let mut tally = Tally::default();
    for seed in seeds(1_226) {
        // The forms in turn, so that none is left out.
        let form = &forms[seed as usize % forms.len()];
        tally.case(seed, &case(form, &mut Random::new(seed)), &mut Soft, other);
    }
    tally.finish(&format!("(a) {} forms of instructions, soft and {}", forms.len(), other.name()));
}
