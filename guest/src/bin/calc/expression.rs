//! Expressions of numbers, `+`, `-`, `*`, `/`, parentheses and signs.

use core::fmt;

use winnow::ascii::{digit0, digit1, multispace0};
use winnow::combinator::{
    Infix, Prefix, alt, cut_err, delimited, dispatch, expression, opt, preceded, terminated,
};
use winnow::error::{ContextError, ErrMode};
use winnow::prelude::*;
use winnow::token::one_of;

/// Why an expression has no value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Error {
    /// The text from this column on, counted from 1, is no expression.
    Syntax(usize),
    /// A division by zero.
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

/// The value of an expression. A division by zero is no error of the parser, which would then try alternatives.
type Value = Result<f64, Error>;

/// Evaluates an expression.
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

/// Parses one of these characters and the spaces after it.
fn sign<'a, const COUNT: usize>(signs: [char; COUNT]) -> impl Parser<&'a str, char, ErrMode<ContextError>> {
    terminated(one_of(signs), multispace0)
}

fn both(a: Value, b: Value, compute: fn(f64, f64) -> Value) -> Value {
    compute(a?, b?)
}

fn divide(a: f64, b: f64) -> Value {
    if b == 0.0 { Err(Error::DivisionByZero) } else { Ok(a / b) }
}

/// Parses a number, or a sum in parentheses, and the spaces after it.
fn operand(input: &mut &str) -> ModalResult<Value> {
    // After a parenthesis there is no alternative (`cut_err`), so an error is reported where it is inside.
    let parentheses = delimited(sign(['(']), cut_err(sum), cut_err(")"));
    terminated(alt((number.map(Ok), parentheses)), multispace0).parse_next(input)
}

/// Parses a number, such as `7`, `.5`, `2.` or `6.02e23`.
fn number(input: &mut &str) -> ModalResult<f64> {
    let digits = alt(((digit1, opt((".", digit0))).void(), (".", digit1).void()));
    let exponent = (one_of(['e', 'E']), opt(one_of(['+', '-'])), digit1);
    (digits, opt(exponent)).take().parse_to().parse_next(input)
}
