//! The attributes `flatland_guest::test` and `flatland_guest::init`.
//!
//! They need only the attributes and the first words of a function's signature, so they read the tokens themselves: a parser
//! of all of Rust would have to be compiled before every guest.

mod attributes;
mod function;

use std::borrow::Cow;

use flatland_contract::test::SECTION;
use proc_macro::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};

use attributes::Attributes;
use function::{Function, Kind};

/// Declares a test that runs on the bare machine. Each test has a fresh machine.
///
/// The function returns what `main` may return. The test fails if the function panics or returns an error. It takes no
/// argument, or one, which is what the program's [`init`](macro@init) returns. It may be `async`: then
/// `flatland_guest::task::block_on` runs it.
///
/// `#[ignore]`, `#[ignore = "why"]`, `#[should_panic]` and `#[should_panic(expected = "text")]` work as with std.
/// `#[timeout(3)]` sets the time limit in seconds, which is otherwise 10, `#[memory("64M")]` the machine's RAM, and
/// `#[stack("4M")]` how much of that is the stack's.
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
    expand(Kind::Test, arguments, item, expand_test)
}

/// Declares the function that each test of a program begins with, once in a program.
///
/// The function takes no arguments, and may be `async`. A test in the same module, or in one with `use super::*`, may take what
/// it returns as its argument. Where a test does not, the value is dropped when the test has ended.
///
/// ```ignore
/// #[cfg(test)]
/// mod tests {
///     use flatland_guest::{init, test};
///
///     #[init]
///     fn numbers() -> [u8; 3] {
///         [1, 2, 3]
///     }
///
///     #[test]
///     fn the_last_is_three(numbers: [u8; 3]) {
///         assert_eq!(numbers.last(), Some(&3));
///     }
/// }
/// ```
#[proc_macro_attribute]
pub fn init(arguments: TokenStream, item: TokenStream) -> TokenStream {
    expand(Kind::Init, arguments, item, expand_init)
}

fn expand(
    kind: Kind,
    arguments: TokenStream,
    item: TokenStream,
    made: fn(Function) -> TokenStream,
) -> TokenStream {
    let result = match arguments.into_iter().next() {
        Some(argument) => {
            Err(Error::new(kind.say("`#[test]` takes no arguments: remove them"), argument.span()))
        }
        None => Function::parse(kind, item.clone()),
    };
    match result {
        Ok(function) => only_in_tests().into_iter().chain(made(function)).collect(),
        // The function stays, so that the compiler does not report it as missing, too.
        Err(error) => TokenStream::from_iter([error.expand(), item]),
    }
}

struct Error {
    message: Cow<'static, str>,
    span: Span,
}

impl Error {
    fn new(message: impl Into<Cow<'static, str>>, span: Span) -> Self {
        Self { message: message.into(), span }
    }

    fn expand(&self) -> TokenStream {
        with_span(rust(&format!("::core::compile_error!({:?});", self.message)), self.span)
    }
}

/// The name in a module of the function that `#[init]` makes there. The compiler shows it where a test's argument finds none.
const INIT: &str = "__init_of_this_module";

fn rust(code: &str) -> TokenStream {
    code.parse().expect("it is valid Rust")
}

fn only_in_tests() -> TokenStream {
    rust("#[cfg(test)]")
}

fn with_span(tokens: TokenStream, span: Span) -> TokenStream {
    let spanned = tokens.into_iter().map(|mut token| {
        token.set_span(span);
        token
    });
    spanned.collect()
}

fn in_braces(tokens: impl IntoIterator<Item = TokenTree>) -> TokenTree {
    Group::new(Delimiter::Brace, tokens.into_iter().collect()).into()
}

/// A call of the function, which is waited for if it is `async`. The argument is given where it is asked for.
fn call(name: &Ident, is_async: bool, argument: Option<Span>) -> TokenStream {
    let argument = argument.map_or_else(TokenStream::new, |span| {
        // Errors in this call point to the argument.
        with_span(rust(&format!("{INIT}()")), span.resolved_at(Span::call_site()))
    });
    let call = [name.clone().into(), Group::new(Delimiter::Parenthesis, argument).into()];
    let call = TokenStream::from_iter::<[TokenTree; 2]>(call);
    if !is_async {
        return call;
    }
    let waited = Group::new(Delimiter::Parenthesis, call).into();
    rust("::flatland_guest::task::block_on").into_iter().chain([waited]).collect()
}

fn expand_test(function: Function) -> TokenStream {
    let Function { name, is_async, argument, output: _, attributes, tokens } = function;
    let Attributes { should_panic, expected_panic, ignore, ignore_reason, timeout, memory, stack } =
        attributes;
    let text = |token: Option<TokenTree>| token.map_or("\"\"".into(), |token| token.to_string());
    let (expected_panic, ignore_reason) = (text(expected_panic), text(ignore_reason));
    let time_limit =
        timeout.map_or("::flatland_guest::__private::Test::TIME_LIMIT".into(), |token| token.to_string());
    let (memory, stack) = (memory.unwrap_or(0), stack.unwrap_or(0));
    let name_of_test = name.to_string();
    let plain = name_of_test.trim_start_matches("r#");
    // A test with an argument calls `#[init]` itself.
    let begin = if argument.is_some() { "test()" } else { "::flatland_guest::__private::after_init(test)" };
    let finish = Group::new(Delimiter::Parenthesis, call(&name, is_async, argument));
    let finish = rust("::flatland_guest::__private::finish").into_iter().chain([finish.into()]);
    let test = rust("extern \"C\" fn test()").into_iter().chain([in_braces(finish)]);
    let begin = rust(begin);
    let call = rust("fn call()").into_iter().chain([in_braces(test.chain(begin))]);
    let record = rust(&format!(
        "#[used]
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
                memory: {memory},
                stack: {stack},
            }},
        );"
    ));
    let made = rust("#[cfg(test)] const _: () =").into_iter().chain([in_braces(call.chain(record))]);
    tokens.into_iter().chain(made).chain(rust(";")).collect()
}

fn expand_init(function: Function) -> TokenStream {
    let Function { name, is_async, output, tokens, .. } = function;
    let made = rust(&format!("#[cfg(test)] #[doc(hidden)] fn {INIT}()"))
        .into_iter()
        .chain(output)
        .chain([in_braces(call(&name, is_async, None))]);
    // The compiler shows this name where a program has two.
    let symbol = rust(&format!(
        "#[cfg(test)]
        const _: () = {{
            #[unsafe(export_name = \"__flatland_one_init_in_a_program\")]
            extern \"C\" fn call(test: extern \"C\" fn()) {{
                let _value = {INIT}();
                test();
            }}
        }};"
    ));
    tokens.into_iter().chain(made).chain(symbol).collect()
}
