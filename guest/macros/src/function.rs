//! The function below an attribute.

use proc_macro::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};

use crate::Error;
use crate::attributes::{Attributes, is};

/// What a function is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Test,
    Init,
}

impl Kind {
    /// A message about a test, for this kind.
    pub fn say(self, message: &str) -> String {
        match self {
            Kind::Test => message.into(),
            Kind::Init => message.replace("a test", "an `#[init]`").replace("#[test]", "#[init]"),
        }
    }
}

pub struct Function {
    pub name: Ident,
    pub is_async: bool,
    /// Where the one argument of a test stands.
    pub argument: Option<Span>,
    /// What it returns, with the arrow; may be empty.
    pub output: Vec<TokenTree>,
    pub attributes: Attributes,
    /// The whole function without the attributes of tests.
    pub tokens: Vec<TokenTree>,
}

impl Function {
    pub fn parse(kind: Kind, item: TokenStream) -> Result<Self, Error> {
        const NO_FUNCTION: &str = "`#[test]` belongs to a function: `#[test] fn name() { ... }`";
        let error = |message: &str, span| Error::new(kind.say(message), span);
        let mut attributes = Attributes::default();
        let mut tokens = Vec::new();
        let mut is_async = false;
        let mut rest = item.into_iter().peekable();
        while let Some(token) = rest.next() {
            if is(&token, '#')
                && let Some(TokenTree::Group(group)) = rest.peek().cloned()
                && group.delimiter() == Delimiter::Bracket
            {
                rest.next();
                match attributes.take(&group)? {
                    false => tokens.extend([token, group.into()]),
                    true if kind == Kind::Test => {}
                    true => {
                        let message = format!("`#{group}` belongs to a test: put it there");
                        return Err(Error::new(message, group.span()));
                    }
                }
                continue;
            }
            let word = match &token {
                TokenTree::Ident(ident) => ident.to_string(),
                // `pub(crate)`, `extern "C"`
                TokenTree::Group(_) | TokenTree::Literal(_) => String::new(),
                TokenTree::Punct(_) => return Err(error(NO_FUNCTION, token.span())),
            };
            match word.as_str() {
                "async" => is_async = true,
                "unsafe" => {
                    let message = "a test cannot be `unsafe`: put an `unsafe` block inside it";
                    return Err(error(message, token.span()));
                }
                "struct" | "enum" | "mod" | "impl" | "trait" | "static" | "type" | "use" => {
                    return Err(error(NO_FUNCTION, token.span()));
                }
                _ => {}
            }
            let span = token.span();
            tokens.push(token);
            if word != "fn" {
                continue;
            }
            let Some(TokenTree::Ident(name)) = rest.next() else {
                return Err(error(NO_FUNCTION, span));
            };
            let parameters = match rest.next() {
                Some(TokenTree::Group(parameters)) => parameters,
                Some(other) if is(&other, '<') => {
                    return Err(error("a test has no generic parameters: remove them", other.span()));
                }
                other => return Err(error(NO_FUNCTION, other.map_or(span, |token| token.span()))),
            };
            let argument = argument(kind, &parameters)?;
            tokens.extend([name.clone().into(), parameters.into()]);
            let rest: Vec<_> = rest.collect();
            let output = rest.iter().take_while(|token| !is_body(token)).cloned().collect();
            tokens.extend(rest);
            return Ok(Self { name, is_async, argument, output, attributes, tokens });
        }
        Err(error(NO_FUNCTION, Span::call_site()))
    }
}

fn is_body(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace)
}

/// The one argument that a test may have.
fn argument(kind: Kind, parameters: &Group) -> Result<Option<Span>, Error> {
    let Some(first) = parameters.stream().into_iter().next() else { return Ok(None) };
    if kind == Kind::Init {
        let message =
            "an `#[init]` takes no arguments, because nothing runs before it: `#[init] fn name() -> Value`";
        return Err(Error::new(message, parameters.span()));
    }
    // A comma between angle brackets is one of a type, and one at the end separates nothing.
    let (mut depth, mut before, mut commas) = (0, None, 0);
    let tokens: Vec<_> = parameters.stream().into_iter().collect();
    for (index, token) in tokens.iter().enumerate() {
        if let TokenTree::Punct(punct) = token {
            match punct.as_char() {
                '<' => depth += 1,
                '>' if before != Some('-') => depth -= 1,
                ',' if depth == 0 && index + 1 < tokens.len() => commas += 1,
                _ => {}
            }
            before = Some(punct.as_char());
        } else {
            before = None;
        }
    }
    match commas {
        0 => Ok(Some(first.span())),
        _ => Err(Error::new(
            "a test takes at most one argument, which is the value of `#[init]`: `#[test] fn name(value: Value)`",
            parameters.span(),
        )),
    }
}
