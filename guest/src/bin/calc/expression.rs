//! Expressions of numbers, `+`, `-`, `*`, `/`, parentheses and signs.

use core::fmt;

use winnow::ascii::{digit0, digit1, multispace0};
use winnow::combinator::{
    Infix, Prefix, alt, cut_err, delimited, dispatch, expression, opt, preceded, terminated,
};
use winnow::error::{ContextError, ErrMode};
use winnow::prelude::*;
use winnow::token::one_of;

/// Why there is no value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Error {
    /// The line is no expression from this column on, counted from 1.
    Syntax(usize),
    /// Something is divided by 0.
    DivisionByZero,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Error::Syntax(column) => write!(f, "no expression from column {column} on"),
            Error::DivisionByZero => write!(f, "division by zero"),
        }
    }
}

/// What an expression has come to so far. Not a parser's error: then it would try to read the text in another way.
type Value = Result<f64, Error>;

/// The value of an expression.
pub fn value(line: &str) -> Value {
    let column = |offset| line[..offset].chars().count() + 1;
    preceded(multispace0, sum).parse(line).map_err(|error| Error::Syntax(column(error.offset())))?
}

fn sum(input: &mut &str) -> ModalResult<Value> {
    expression(operand)
        .prefix(dispatch! { sign(['+', '-']);
            '-' => Prefix(3, |_, value: Value| Ok(value.map(|value| -value))),
            _ => Prefix(3, |_, value| Ok(value)),
        })
        .infix(dispatch! { sign(['+', '-', '*', '/']);
            '+' => Infix::Left(1, |_, a, b| Ok(both(a, b, |a, b| Ok(a + b)))),
            '-' => Infix::Left(1, |_, a, b| Ok(both(a, b, |a, b| Ok(a - b)))),
            '*' => Infix::Left(2, |_, a, b| Ok(both(a, b, |a, b| Ok(a * b)))),
            _ => Infix::Left(2, |_, a, b| Ok(both(a, b, divide))),
        })
        .parse_next(input)
}

/// One of these characters. The spaces behind it belong to it, here and below.
fn sign<'a, const COUNT: usize>(signs: [char; COUNT]) -> impl Parser<&'a str, char, ErrMode<ContextError>> {
    terminated(one_of(signs), multispace0)
}

fn both(a: Value, b: Value, compute: fn(f64, f64) -> Value) -> Value {
    compute(a?, b?)
}

fn divide(a: f64, b: f64) -> Value {
    if b == 0.0 { Err(Error::DivisionByZero) } else { Ok(a / b) }
}

/// A number, or a sum in parentheses.
fn operand(input: &mut &str) -> ModalResult<Value> {
    // Behind a parenthesis there is no other way to read the text, so the place of the error is the one in it.
    let parentheses = delimited(sign(['(']), cut_err(sum), cut_err(")"));
    terminated(alt((number.map(Ok), parentheses)), multispace0).parse_next(input)
}

/// `7`, `.5`, `2.`, `6.02e23`.
fn number(input: &mut &str) -> ModalResult<f64> {
    let digits = alt(((digit1, opt((".", digit0))).void(), (".", digit1).void()));
    let exponent = (one_of(['e', 'E']), opt(one_of(['+', '-'])), digit1);
    (digits, opt(exponent)).take().parse_to().parse_next(input)
}
