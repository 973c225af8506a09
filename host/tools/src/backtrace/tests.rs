//! Walks over handmade stacks.

use super::*;

/// The first frame's function is here: push ebp; mov ebp, esp; nop.
const FUNCTION: u32 = 0x100;
/// At this address plus n, a `call` with the number n ends.
const CALLS: u32 = 0x200;
/// The end of RAM.
const END: u32 = 0x1000;
/// The address after the function's first two instructions.
const IN_FRAME: u32 = FUNCTION + 3;

struct Ram(Vec<u8>);

impl Ram {
    fn new() -> Self {
        let mut ram = vec![0; END as usize];
        ram[FUNCTION as usize..][..6].copy_from_slice(&[0x55, 0x89, 0xe5, 0x90, 0x5d, 0xc3]);
        for call in 0..16 {
            ram[(CALLS + call * 8) as usize] = 0xe8;
        }
        Self(ram)
    }

    fn set(&mut self, address: u32, word: u32) {
        self.0[address as usize..][..4].copy_from_slice(&word.to_le_bytes());
    }

    fn walk(&self, eip: u32, esp: u32, ebp: u32, function: Option<u32>) -> Backtrace {
        let read = |address: u32, to: &mut [u8]| {
            let from = self.0.get(address as usize..).unwrap_or_default();
            let len = from.len().min(to.len());
            to[..len].copy_from_slice(&from[..len]);
            len
        };
        Backtrace::walk(&Start { eip, esp, ebp, function }, &read)
    }
}

/// The return address of the call with this number.
fn return_address(call: u32) -> u32 {
    CALLS + call * 8 + 5
}

fn whole(addresses: &[u32]) -> Backtrace {
    Backtrace { addresses: addresses.to_vec(), left_out: None, broken: None }
}

fn broken(addresses: &[u32], broken: Broken) -> Backtrace {
    Backtrace { broken: Some(broken), ..whole(addresses) }
}

/// Two frames, at 0x800 and 0x900, and the first function's caller is call 0.
fn two_frames() -> Ram {
    let mut ram = Ram::new();
    ram.set(0x800, 0x900);
    ram.set(0x804, return_address(0));
    ram.set(0x900, 0);
    ram.set(0x904, return_address(1));
    ram
}

#[test]
fn frames_lead_to_the_start() {
    let expected = whole(&[IN_FRAME, return_address(0) - 1, return_address(1) - 1]);
    assert_eq!(two_frames().walk(IN_FRAME, 0x7f0, 0x800, Some(FUNCTION)), expected);
    assert_eq!(two_frames().walk(IN_FRAME, 0x7f0, 0x800, None), expected);
    assert_eq!(Ram::new().walk(IN_FRAME, 0x800, 0, None), whole(&[IN_FRAME]));
}

#[test]
fn a_missing_frame_is_detected() {
    // The stack as a call leaves it; EBP is the caller's.
    let mut ram = two_frames();
    ram.set(0x7f0, return_address(2));
    ram.set(0x7ec, 0x800);
    for function in [Some(FUNCTION), None] {
        for (eip, esp) in [(FUNCTION, 0x7f0), (FUNCTION + 1, 0x7ec), (FUNCTION + 5, 0x7f0)] {
            let expected = whole(&[eip, return_address(2) - 1, return_address(0) - 1, return_address(1) - 1]);
            assert_eq!(ram.walk(eip, esp, 0x800, function), expected, "{eip:#x} of {function:x?}");
        }
    }
    // A function without a frame, by the way to it: sub esp, 0x10; push ebx; nop
    ram.0[0x180..0x185].copy_from_slice(&[0x83, 0xec, 0x10, 0x53, 0x90]);
    let expected = whole(&[0x184, return_address(2) - 1, return_address(0) - 1, return_address(1) - 1]);
    assert_eq!(ram.walk(0x184, 0x7dc, 0x800, Some(0x180)), expected);
}

#[test]
fn a_call_to_nowhere_is_told_from_a_jump() {
    let mut ram = two_frames();
    let nowhere = 0x20_0000;
    assert_eq!(
        ram.walk(nowhere, 0x7f0, 0x800, None),
        whole(&[nowhere, return_address(0) - 1, return_address(1) - 1])
    );
    ram.set(0x7f0, return_address(2));
    let called = whole(&[nowhere, return_address(2) - 1, return_address(0) - 1, return_address(1) - 1]);
    assert_eq!(ram.walk(nowhere, 0x7f0, 0x800, None), called);
}

#[test]
fn a_broken_chain_ends_and_says_why() {
    let at = [IN_FRAME, return_address(0) - 1];
    let walk = |ram: &Ram| ram.walk(IN_FRAME, 0x7f0, 0x800, None);
    let mut ram = two_frames();
    for ebp in [0x20_0000, u32::MAX, END - 4, END - 7] {
        ram.set(0x800, ebp);
        assert_eq!(walk(&ram), broken(&at, Broken::NoMemory(ebp)), "{ebp:#x}");
    }
    // The frame itself, an address below it, one in the middle of it, and one outside of the stack.
    for ebp in [0x800, 0x7f0, 0x804, 4] {
        ram.set(0x800, ebp);
        assert_eq!(walk(&ram), broken(&at, Broken::NotUpwards(ebp)), "{ebp:#x}");
    }
    let mut ram = two_frames();
    for found in [0, 4, 0x600, 0x20_0000, u32::MAX] {
        ram.set(0x904, found);
        assert_eq!(walk(&ram), broken(&at, Broken::NoCall { found, at: 0x904 }), "{found:#x}");
    }
    // EBP is below the stack.
    let below = ram.walk(IN_FRAME, 0x900, 0x800, None);
    assert_eq!(below, broken(&[IN_FRAME], Broken::NotUpwards(0x800)));
}

#[test]
fn a_deep_recursion_keeps_its_ends() {
    let mut ram = Ram::new();
    let count = 100;
    for frame in 0..count {
        let at = 0x800 + 8 * frame;
        ram.set(at, if frame + 1 < count { at + 8 } else { 0 });
        ram.set(at + 4, return_address(frame % 16));
    }
    let backtrace = ram.walk(IN_FRAME, 0x800, 0x800, None);
    let all: Vec<u32> =
        [IN_FRAME].into_iter().chain((0..count).map(|frame| return_address(frame % 16) - 1)).collect();
    let (first, last) = (Backtrace::FIRST, Backtrace::LAST);
    assert_eq!(backtrace.left_out, Some((first, 101 - (first + last) as u64)));
    assert_eq!(backtrace.addresses[..first], all[..first]);
    assert_eq!(backtrace.addresses[first..], all[all.len() - last..]);
    // One frame less than is kept, exactly as many, and one more.
    for (frames, left_out) in
        [(first + last - 1, None), (first + last, None), (first + last + 1, Some((first, 1)))]
    {
        let mut kept = Frames::default();
        (0..frames as u32).for_each(|frame| kept.push(frame));
        let backtrace = kept.finish(None);
        assert_eq!(backtrace.left_out, left_out);
        assert!(backtrace.addresses.is_sorted() && backtrace.addresses.last() == Some(&(frames as u32 - 1)));
    }
}

#[test]
fn no_stack_makes_it_endless_or_panic() {
    // Marsaglia's xorshift (2003).
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random as u32
    };
    for _ in 0..20_000 {
        let mut ram = Ram::new();
        // Return addresses, frame pointers and random words.
        for at in (0x800..END).step_by(4) {
            let word = match next() % 4 {
                0 => return_address(next() % 16),
                1 => 0x800 + next() % 0x800 / 4 * 4,
                2 => at + 4 + next() % 64,
                _ => next(),
            };
            ram.set(at, word);
        }
        let anywhere = |random: u32| if random.is_multiple_of(3) { random } else { random % (2 * END) };
        let function = anywhere(next());
        let start = (anywhere(next()), anywhere(next()), anywhere(next()));
        let backtrace = ram.walk(start.0, start.1, start.2, Some(function).filter(|from| *from <= start.0));
        assert!(backtrace.addresses.len() <= Backtrace::FIRST + Backtrace::LAST);
    }
}

#[test]
fn a_chain_of_too_many_frames_is_cut() {
    // Each word above RAM is the address of the next frame, or a return address.
    let ram = Ram::new();
    let read = |address: u32, to: &mut [u8]| {
        if address < END {
            let from = &ram.0[address as usize..];
            let len = from.len().min(to.len());
            to[..len].copy_from_slice(&from[..len]);
            return len;
        }
        let word = if address.is_multiple_of(8) { address + 8 } else { return_address(0) };
        to.copy_from_slice(&word.to_le_bytes()[..to.len()]);
        to.len()
    };
    let start = Start { eip: IN_FRAME, esp: END, ebp: END, function: None };
    let backtrace = Backtrace::walk(&start, &read);
    assert_eq!(backtrace.broken, Some(Broken::Endless));
    let kept = (Backtrace::FIRST + Backtrace::LAST) as u64;
    assert_eq!(backtrace.left_out, Some((Backtrace::FIRST, Backtrace::FARTHEST - kept)));
}
