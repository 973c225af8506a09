//! The attributes of a test beside `#[test]`.

use flatland_contract::MemorySize;
use proc_macro::{Group, Ident, Spacing, TokenTree};

use crate::Error;

/// The other attributes of a test. Tokens are Rust expressions.
#[derive(Default)]
pub struct Attributes {
    pub should_panic: bool,
    pub expected_panic: Option<TokenTree>,
    pub ignore: bool,
    pub ignore_reason: Option<TokenTree>,
    pub timeout: Option<TokenTree>,
    /// In bytes.
    pub memory: Option<u32>,
    /// In bytes.
    pub stack: Option<u32>,
}

impl Attributes {
    /// Reads an attribute from its brackets. Returns whether it is one of a test.
    pub fn take(&mut self, brackets: &Group) -> Result<bool, Error> {
        let mut tokens = brackets.stream().into_iter();
        let Some(TokenTree::Ident(name)) = tokens.next() else { return Ok(false) };
        let rest: Vec<_> = tokens.collect();
        match name.to_string().as_str() {
            "should_panic" => {
                const FORM: &str = "write `#[should_panic]` or `#[should_panic(expected = \"text\")]`";
                self.should_panic = true;
                self.expected_panic = match rest.as_slice() {
                    [] => None,
                    [equals, text] if is(equals, '=') => Some(literal(text, FORM)?),
                    [TokenTree::Group(group)] => {
                        match group.stream().into_iter().collect::<Vec<_>>().as_slice() {
                            [TokenTree::Ident(word), equals, text]
                                if word.to_string() == "expected" && is(equals, '=') =>
                            {
                                Some(literal(text, FORM)?)
                            }
                            _ => return Err(Error::new(FORM, name.span())),
                        }
                    }
                    _ => return Err(Error::new(FORM, name.span())),
                };
            }
            "ignore" => {
                const FORM: &str = "write `#[ignore]` or `#[ignore = \"why\"]`";
                self.ignore = true;
                self.ignore_reason = match rest.as_slice() {
                    [] => None,
                    [equals, text] if is(equals, '=') => Some(literal(text, FORM)?),
                    _ => return Err(Error::new(FORM, name.span())),
                };
            }
            "timeout" => {
                const FORM: &str = "write `#[timeout(3)]`, with whole seconds";
                let [TokenTree::Group(group)] = rest.as_slice() else {
                    return Err(Error::new(FORM, name.span()));
                };
                let inside: Vec<_> = group.stream().into_iter().collect();
                let [seconds] = inside.as_slice() else { return Err(Error::new(FORM, name.span())) };
                self.timeout = Some(literal(seconds, FORM)?);
            }
            "memory" => self.memory = Some(size(&name, &rest)?),
            "stack" => self.stack = Some(size(&name, &rest)?),
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// A size in an attribute's parentheses, in bytes.
fn size(name: &Ident, rest: &[TokenTree]) -> Result<u32, Error> {
    let form = || Error::new(format!("write `#[{name}(\"64M\")]`: bytes, or with K, M or G"), name.span());
    let [TokenTree::Group(group)] = rest else { return Err(form()) };
    let inside: Vec<_> = group.stream().into_iter().collect();
    let [TokenTree::Literal(literal)] = inside.as_slice() else { return Err(form()) };
    let text = literal.to_string();
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).ok_or_else(form)?;
    match text.parse::<MemorySize>() {
        Ok(size) => Ok(size.bytes()),
        Err(error) => Err(Error::new(format!("`#[{name}({text:?})]` is {error}"), literal.span())),
    }
}

fn literal(token: &TokenTree, form: &'static str) -> Result<TokenTree, Error> {
    match token {
        TokenTree::Literal(_) => Ok(token.clone()),
        other => Err(Error::new(form, other.span())),
    }
}

pub fn is(token: &TokenTree, punctuation: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == punctuation && punct.spacing() == Spacing::Alone)
}
