//! A backtrace with names.

use flatland_program::{Function, Place, Symbols, own};

use super::Snippet;
use crate::backtrace::{Backtrace, Broken};

/// The calls that led to a location, innermost first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Calls {
    /// One for each function, including inlined functions.
    pub calls: Vec<Call>,
    /// The gap in a long chain: after how many calls, and how many frames were left out.
    pub left_out: Option<(usize, u64)>,
    /// Why the calls do not lead to the start of the program.
    pub broken: Option<Broken>,
    /// Whether the calls without information were left out: see [`Self::short`].
    pub is_short: bool,
}

/// A function, and the location in it of the next inner call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Call {
    /// An address inside the instruction.
    pub address: u32,
    /// The function.
    pub function: Function,
    /// Whether it is inlined in the next call, and so shares its frame.
    pub is_inlined: bool,
    /// Whether it is the same in every run: the path from a panic to the end of the run, or the runtime's start code.
    pub is_machinery: bool,
}

impl Calls {
    /// Adds names to a backtrace.
    pub fn new(backtrace: &Backtrace, symbols: Option<&Symbols>) -> Self {
        let mut calls = Vec::new();
        let mut left_out = None;
        for (index, address) in backtrace.addresses.iter().copied().enumerate() {
            if let Some((behind, count)) = backtrace.left_out
                && behind == index
            {
                left_out = Some((calls.len(), count));
            }
            let mut functions = symbols.map(|symbols| symbols.functions(address)).unwrap_or_default();
            if functions.is_empty() {
                functions.push(Function::default());
            }
            let outermost = functions.len() - 1;
            calls.extend(functions.into_iter().enumerate().map(|(depth, function)| Call {
                address,
                function,
                is_inlined: depth < outermost,
                is_machinery: false,
            }));
        }
        mark_machinery(&mut calls);
        Self { calls, left_out, broken: backtrace.broken, is_short: false }
    }

    /// Without the calls that are the same in every run.
    pub fn short(self) -> Self {
        let left_out = self.left_out.map(|(behind, count)| {
            (self.calls[..behind].iter().filter(|call| !call.is_machinery).count(), count)
        });
        let calls = self.calls.into_iter().filter(|call| !call.is_machinery).collect();
        Self { calls, left_out, is_short: true, ..self }
    }

    /// Whether they lead through the panic handler.
    pub fn is_panic(&self) -> bool {
        self.calls.iter().any(|call| call.function.is_panic_handler())
    }

    /// Whether the name of any function is known.
    pub fn have_names(&self) -> bool {
        self.calls.iter().any(|call| call.function.name.is_some())
    }

    /// The location of the guest.
    pub fn place(&self) -> Place {
        self.calls.first().map(|first| Place::of(first.address, in_places(&self.calls))).unwrap_or_default()
    }

    /// The source of the guest's location, or of the innermost call whose source can be read.
    pub fn snippet(&self) -> Option<Snippet> {
        let address = self.calls.first()?.address;
        let mut left = &self.calls[..];
        while let Some(own) = own(address, in_places(left)) {
            let Call { address: at, function, .. } = &left[own];
            if let Some(snippet) = Snippet::read(function, *at != address) {
                return Some(snippet);
            }
            left = &left[own + 1..];
        }
        None
    }
}

/// Marks the calls that are the same in every run: from a panic (with the parts of the standard library that raised
/// it) to the end of the run, and from the start of the program to `main`.
fn mark_machinery(calls: &mut [Call]) {
    let mut begin = 0;
    if let Some(handler) = calls.iter().rposition(|call| call.function.is_panic_handler()) {
        let library =
            calls[handler + 1..].iter().take_while(|call| call.function.is_of_the_standard_library()).count();
        begin = handler + 1 + library;
    }
    let is_outer = |call: &Call| call.function.is_start() || call.function.is_of_the_standard_library();
    let mut end = calls.len() - calls.iter().rev().take_while(|call| is_outer(call)).count();
    if !calls.last().is_some_and(|call| call.function.is_start()) {
        end = calls.len();
    }
    if !calls.get(begin..end).is_some_and(|left| left.iter().any(|call| call.function.name.is_some())) {
        // At least one call must remain.
        (begin, end) = (begin.min(calls.len().saturating_sub(1)), calls.len());
    }
    for (index, call) in calls.iter_mut().enumerate() {
        call.is_machinery = !(begin..end).contains(&index);
    }
}

/// The functions with their addresses.
fn in_places(calls: &[Call]) -> impl Iterator<Item = (u32, &Function)> {
    calls.iter().map(|call| (call.address, &call.function))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(names: &[&str]) -> Vec<Call> {
        let call = |name: &&str| Call {
            address: 0,
            function: Function { name: Some((*name).into()), source: None },
            is_inlined: false,
            is_machinery: false,
        };
        names.iter().map(call).collect()
    }

    fn name(call: &Call) -> &str {
        call.function.name.as_deref().unwrap_or_default()
    }

    #[track_caller]
    fn assert_left(names: &[&str], left: &[&str]) {
        let mut calls = calls(names);
        mark_machinery(&mut calls);
        let all = Calls { calls, left_out: Some((names.len(), 7)), ..Calls::default() };
        let short = all.short();
        assert_eq!(short.calls.iter().map(name).collect::<Vec<_>>(), left);
        assert_eq!(short.left_out, Some((left.len(), 7)));
    }

    #[test]
    fn calls_of_every_run_are_left_out() {
        let start = ["flatland_guest::start::run", "__flatland_main", "_start"];
        let panic =
            ["flatland_guest::process::exit", "__rustc::rust_begin_unwind", "core::panicking::panic_fmt"];
        assert_left(&[&["a::f", "a::main"][..], &start].concat(), &["a::f", "a::main"]);
        assert_left(
            &[&panic[..], &["a::f", "core::ops::call", "a::main"], &start].concat(),
            &["a::f", "core::ops::call", "a::main"],
        );
        assert_left(&[&["a::main", "core::ops::call"][..], &start].concat(), &["a::main"]);
    }

    #[test]
    fn at_least_one_call_remains() {
        assert_left(&["_start"], &["_start"]);
        assert_left(&["__flatland_main", "_start"], &["__flatland_main", "_start"]);
        assert_left(&["rust_begin_unwind"], &["rust_begin_unwind"]);
        assert_left(&["rust_begin_unwind", "core::f", "core::g"], &["core::g"]);
        assert_left(&["core::f", "core::g"], &["core::f", "core::g"]);
        let mut jumped = calls(&["nowhere", "_start"]);
        jumped[0].function.name = None;
        mark_machinery(&mut jumped);
        assert!(jumped.iter().all(|call| !call.is_machinery));
    }
}
