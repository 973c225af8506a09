//! The arguments of a command: its own options, and the rest.

use std::ffi::OsString;

use super::commands::{Doc, NOT_OF_TESTS, Table};
use crate::caller;
use crate::spelling::{nearest, tolerance};

/// The arguments of a command.
pub struct Words {
    doc: &'static Doc,
    options: Vec<(&'static str, Option<OsString>)>,
    /// The arguments that are not the command's own options. They may include values of other options, so a program's name
    /// is expected only at the beginning.
    rest: Vec<OsString>,
}

/// Whether an option's value may be left out. It then stands behind a `=`.
fn has_optional_value(option: &str) -> bool {
    option.contains("[=")
}

impl Words {
    /// Separates a command's own options from the other arguments.
    pub fn of(table: &Table, doc: &'static Doc, args: Vec<OsString>) -> Result<Self, String> {
        let mut words = Self { doc, options: Vec::new(), rest: Vec::new() };
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let text = arg.to_str().unwrap_or_default();
            if text == "--" {
                words.rest.push(arg);
                words.rest.extend(args);
                break;
            }
            let (name, value) = match text.split_once('=') {
                Some((name, value)) => (name, Some(OsString::from(value))),
                None => (text, None),
            };
            match doc.option_names().position(|known| known == name) {
                Some(index) => {
                    let (option, _) = doc.options[index];
                    let value = match (option.split_once(' '), value) {
                        (None, None) => None,
                        (None, Some(value)) if has_optional_value(option) => Some(value),
                        (None, Some(_)) => return Err(format!("{name} takes no value")),
                        (Some(_), Some(value)) => Some(value),
                        (Some(_), None) => {
                            Some(args.next().ok_or(format!("{name} needs a value: `{option}`"))?)
                        }
                    };
                    words.options.push((doc.option_names().nth(index).expect("it was just found"), value));
                }
                None if text.starts_with('-') && text != "-" => {
                    let not_of_tests = NOT_OF_TESTS.iter().find(|(names, _)| names.contains(&name));
                    if let (true, Some((_, advice))) = (doc.is_of_guests_tests(), not_of_tests) {
                        return Err(format!("{name} {}", caller::named(advice)));
                    }
                    // The other program's options are not known here, so accept only one wrong letter as a
                    // misspelling.
                    let most = if doc.passed_to.is_some() { 1 } else { tolerance(name) };
                    let forms = table.forms(doc.name());
                    // `cargo xtask test` becomes another command by a word of its own.
                    let of_test = caller::test_command().split(' ').filter(|_| doc.name() == "test");
                    let long = forms
                        .flat_map(Doc::option_names)
                        .chain(["--color", "--offline", "--package", "--quiet"])
                        .chain(of_test);
                    let long = long.filter(|known| known.starts_with("--") && *known != name);
                    if let Some(meant) = nearest(name, long, most) {
                        let command = doc.name();
                        return Err(format!(
                            "`{} {command}` does not know `{text}`: did you mean `{meant}`?",
                            caller::cargo()
                        ));
                    }
                    if doc.passed_to.is_none() {
                        return Err(words.unknown(text));
                    }
                    words.rest.push(arg);
                }
                None => words.rest.push(arg),
            }
        }
        Ok(words)
    }

    /// Whether an option was given.
    pub fn has(&self, option: &str) -> bool {
        self.options.iter().any(|(name, _)| *name == option)
    }

    /// The value of an option; the last one counts.
    pub fn value(&self, option: &str) -> Option<OsString> {
        self.options.iter().rev().find(|(name, _)| *name == option)?.1.clone()
    }

    /// These options with their values, as they were given.
    pub fn again(&self, options: &[&str]) -> Vec<OsString> {
        let is_joined = |name: &str| {
            let optional = self.doc.options.iter().filter(|(option, _)| has_optional_value(option));
            optional.map(|(option, _)| option.split('[').next()).any(|known| known == Some(name))
        };
        let given = self.options.iter().filter(|(name, _)| options.contains(name));
        let words = given.flat_map(|(name, value)| match value {
            Some(value) if is_joined(name) => {
                let mut word = OsString::from(name);
                word.push("=");
                word.push(value);
                [Some(word), None]
            }
            value => [Some(OsString::from(name)), value.clone()],
        });
        words.flatten().collect()
    }

    /// All options but this one with their values, as they were given.
    pub fn again_but(&self, left_out: &str) -> Vec<OsString> {
        let names = self.options.iter().map(|(name, _)| *name).filter(|name| *name != left_out);
        self.again(&names.collect::<Vec<_>>())
    }

    /// The first word, if it is no option.
    pub fn name(&mut self) -> Result<Option<String>, String> {
        match self.rest.first() {
            Some(first) if !first.as_encoded_bytes().starts_with(b"-") => {
                self.rest.remove(0).into_string().map(Some).map_err(|_| "a name is not UTF-8".into())
            }
            _ => Ok(None),
        }
    }

    /// The first word as a path, if it is no option.
    pub fn path(&mut self) -> Option<OsString> {
        let is_path = |first: &OsString| !first.as_encoded_bytes().starts_with(b"-");
        self.rest.first().is_some_and(is_path).then(|| self.rest.remove(0))
    }

    /// The first word; an error if there is none.
    pub fn required_name(&mut self, example: &str) -> Result<String, String> {
        let (cargo, command) = (caller::cargo(), self.doc.name());
        self.name()?.ok_or_else(|| {
            format!("`{cargo} {command}` needs a program, such as `{cargo} {command} {example}`")
        })
    }

    /// Rejects options of gdb that are not taken. flatland's begin with two dashes.
    pub fn check_gdbs_own(&self) -> Result<(), String> {
        let is_one = |text: &&str| text.len() > 1 && text.starts_with('-') && !text.starts_with("--");
        let before_dashes = self.rest.iter().take_while(|word| *word != "--");
        match before_dashes.filter_map(|word| word.to_str()).find(is_one) {
            None => Ok(()),
            Some(own) => Err(format!(
                "`{own}` is no option of flatland, and of gdb's own there are -x FILE, -ex COMMAND and --batch: give a command \
                 instead, such as -ex 'tui enable'"
            )),
        }
    }

    /// Takes the arguments that are not the command's own options.
    pub fn take_rest(&mut self) -> Vec<OsString> {
        std::mem::take(&mut self.rest)
    }

    /// Rejects arguments that nobody has taken.
    pub fn end(&self) -> Result<(), String> {
        self.rest.first().map_or(Ok(()), |arg| Err(self.unknown(&arg.to_string_lossy())))
    }

    fn unknown(&self, arg: &str) -> String {
        if self.doc.is_of_guests_tests() {
            return format!("options of libtest stand behind a `--`: `{} -- {arg}`", caller::test());
        }
        let (cargo, command) = (caller::cargo(), self.doc.name());
        format!("`{cargo} {command}` does not know `{arg}`; `{cargo} {command} --help` lists what there is")
    }
}
