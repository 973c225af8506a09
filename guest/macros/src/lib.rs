//! The attribute `flatland_guest::test`.
//!
//! It needs only the attributes and the first words of a function's signature, so it reads the tokens itself: a parser of
//! all of Rust would have to be compiled before every guest.

use flatland_contract::test::SECTION;
use proc_macro::{Delimiter, Group, Spacing, Span, TokenStream, TokenTree};

/// Declares a test that runs on the bare machine. Each test has a fresh machine.
///
/// The function takes no arguments and returns what `main` may return. The test fails if the function panics or returns an
/// error. `#[ignore]`, `#[ignore = "why"]`, `#[should_panic]` and `#[should_panic(expected = "text")]` work as with std;
/// `#[timeout(3)]` sets the time limit in seconds, which is otherwise 10.
///
/// ```ignore
/// #[cfg(test)]
/// mod tests {
///     use flatland_guest::test;
///
///     #[test]
///     fn two_and_two() {
///         assert_eq!(2 + 2, 4);
///     }
/// }
/// ```
///
/// `cargo xtask test --guest` runs them.
#[proc_macro_attribute]
pub fn test(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let result = match arguments.into_iter().next() {
        Some(argument) => Err(Error::new("`#[test]` takes no arguments", argument.span())),
        None => Function::parse(item.clone()),
    };
    match result {
        Ok(function) => function.expand(),
        // The function stays, so that the compiler does not report it as missing, too.
        Err(error) => TokenStream::from_iter([error.expand(), item]),
    }
}

struct Error {
    message: &'static str,
    span: Span,
}

impl Error {
    fn new(message: &'static str, span: Span) -> Self {
        Self { message, span }
    }

    fn expand(&self) -> TokenStream {
        let code: TokenStream =
            format!("::core::compile_error!({:?});", self.message).parse().expect("it is valid Rust");
        let spanned = code.into_iter().map(|mut token| {
            token.set_span(self.span);
            token
        });
        spanned.collect()
    }
}

/// A test function.
struct Function {
    name: String,
    attributes: Attributes,
    /// The whole function without the attributes of tests.
    tokens: Vec<TokenTree>,
}

/// The other attributes of a test. Values are Rust expressions.
#[derive(Default)]
struct Attributes {
    should_panic: bool,
    expected_panic: Option<TokenTree>,
    ignore: bool,
    ignore_reason: Option<TokenTree>,
    timeout: Option<TokenTree>,
}

impl Function {
    fn parse(item: TokenStream) -> Result<Self, Error> {
        const NO_FUNCTION: &str = "`#[test]` belongs to a function: `#[test] fn name() { ... }`";
        let mut attributes = Attributes::default();
        let mut tokens = Vec::new();
        let mut rest = item.into_iter().peekable();
        while let Some(token) = rest.next() {
            if is(&token, '#')
                && let Some(TokenTree::Group(group)) = rest.peek().cloned()
                && group.delimiter() == Delimiter::Bracket
            {
                rest.next();
                if !attributes.take(&group)? {
                    tokens.extend([token, group.into()]);
                }
                continue;
            }
            let word = match &token {
                TokenTree::Ident(ident) => ident.to_string(),
                // `pub(crate)`, `extern "C"`
                TokenTree::Group(_) | TokenTree::Literal(_) => String::new(),
                TokenTree::Punct(_) => return Err(Error::new(NO_FUNCTION, token.span())),
            };
            match word.as_str() {
                "async" => {
                    return Err(Error::new(
                        "a test cannot be `async`: nothing here would run it",
                        token.span(),
                    ));
                }
                "unsafe" => {
                    return Err(Error::new(
                        "a test cannot be `unsafe`: put an `unsafe` block inside it",
                        token.span(),
                    ));
                }
                "struct" | "enum" | "mod" | "impl" | "trait" | "static" | "type" | "use" => {
                    return Err(Error::new(NO_FUNCTION, token.span()));
                }
                _ => {}
            }
            let span = token.span();
            tokens.push(token);
            if word != "fn" {
                continue;
            }
            let Some(TokenTree::Ident(name)) = rest.next() else {
                return Err(Error::new(NO_FUNCTION, span));
            };
            match rest.next() {
                Some(TokenTree::Group(parameters)) if parameters.stream().is_empty() => {
                    tokens.extend([name.clone().into(), parameters.into()]);
                }
                Some(other) if is(&other, '<') => {
                    return Err(Error::new("a test has no generic parameters: remove them", other.span()));
                }
                other => {
                    let span = other.map_or(span, |token| token.span());
                    return Err(Error::new("a test takes no arguments: `#[test] fn name()`", span));
                }
            }
            tokens.extend(rest);
            return Ok(Self { name: name.to_string(), attributes, tokens });
        }
        Err(Error::new(NO_FUNCTION, Span::call_site()))
    }

    fn expand(self) -> TokenStream {
        let Self { name, attributes, tokens } = self;
        let Attributes { should_panic, expected_panic, ignore, ignore_reason, timeout } = attributes;
        let text = |token: Option<TokenTree>| token.map_or("\"\"".into(), |token| token.to_string());
        let (expected_panic, ignore_reason) = (text(expected_panic), text(ignore_reason));
        let time_limit =
            timeout.map_or("::flatland_guest::__private::Test::TIME_LIMIT".into(), |token| token.to_string());
        let plain = name.trim_start_matches("r#");
        let record = format!(
            "#[cfg(test)]
            const _: () = {{
                fn call() {{
                    ::flatland_guest::__private::finish({name}())
                }}
                #[used]
                #[unsafe(link_section = \"{SECTION}\")]
                static TEST: ::flatland_guest::__private::Test = ::flatland_guest::__private::Test::new(
                    call,
                    ::flatland_guest::__private::Description {{
                        name: ::core::concat!(::core::module_path!(), \"::{plain}\"),
                        file: ::core::file!(),
                        line: ::core::line!(),
                        should_panic: {should_panic},
                        expected_panic: {expected_panic},
                        ignore: {ignore},
                        ignore_reason: {ignore_reason},
                        time_limit: {time_limit},
                    }},
                );
            }};"
        );
        let record: TokenStream = record.parse().expect("it is valid Rust");
        let only_in_tests: TokenStream = "#[cfg(test)]".parse().expect("it is valid Rust");
        only_in_tests.into_iter().chain(tokens).chain(record).collect()
    }
}

impl Attributes {
    /// Reads an attribute from its brackets. Returns whether it is one of a test.
    fn take(&mut self, brackets: &Group) -> Result<bool, Error> {
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
            _ => return Ok(false),
        }
        Ok(true)
    }
}

fn literal(token: &TokenTree, form: &'static str) -> Result<TokenTree, Error> {
    match token {
        TokenTree::Literal(_) => Ok(token.clone()),
        other => Err(Error::new(form, other.span())),
    }
}

fn is(token: &TokenTree, punctuation: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == punctuation && punct.spacing() == Spacing::Alone)
}
