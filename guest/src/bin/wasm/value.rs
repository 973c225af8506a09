//! Conversion of WebAssembly values from and to text.

use core::fmt;
use core::str::FromStr;

use flatland_guest::prelude::*;
use wasmi::{Val, ValType};

/// Parses an argument of this type.
pub fn parse(ty: ValType, text: &str) -> Result<Val, String> {
    fn number<T: FromStr>(text: &str) -> Option<T> {
        text.parse().ok()
    }
    let (value, name) = match ty {
        ValType::I32 => (number(text).map(Val::I32), "i32"),
        ValType::I64 => (number(text).map(Val::I64), "i64"),
        ValType::F32 => (number::<f32>(text).map(|value| Val::F32(value.into())), "f32"),
        ValType::F64 => (number::<f64>(text).map(|value| Val::F64(value.into())), "f64"),
        _ => (None, "value of the types that can be written here: i32, i64, f32 and f64"),
    };
    value.ok_or_else(|| format!("{text:?} is no {name}"))
}

/// Prints a result.
pub struct Shown<'a>(pub &'a Val);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.0 {
            Val::I32(value) => write!(f, "{value}"),
            Val::I64(value) => write!(f, "{value}"),
            Val::F32(value) => write!(f, "{}", value.to_float()),
            Val::F64(value) => write!(f, "{}", value.to_float()),
            other => write!(f, "{other:?}"),
        }
    }
}
