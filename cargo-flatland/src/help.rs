//! `completions` and `man`: what `--help` says, for shells and for man(1).

mod completions;
mod man;

use std::fs;
use std::path::Path;

use crate::host::Program;
use crate::options::{Shell, Table};
use crate::{Context, Result, caller, print};

/// A program, as its help tells of it.
struct Page {
    /// How it is called: `cargo flatland`.
    name: String,
    /// The whole of its help.
    text: String,
    options: Vec<Choice>,
    commands: Vec<Part>,
}

/// A command.
struct Part {
    name: &'static str,
    about: &'static str,
    /// With those of the program that the others are passed to.
    options: Vec<Choice>,
    /// The whole of its help.
    text: String,
}

/// An option.
#[derive(Clone, Debug)]
struct Choice {
    /// As the help has it: `--name`, `--name VALUE`, `--name[=VALUE]` or `-n, --name`.
    form: String,
    about: String,
}

impl Choice {
    /// Its names.
    fn names(&self) -> impl Iterator<Item = &str> {
        self.form.split([' ', '[', ',']).filter(|word| word.starts_with('-'))
    }

    /// Whether a value must follow.
    fn needs_value(&self) -> bool {
        self.form.rsplit(' ').next().is_some_and(|last| !last.starts_with('-'))
    }
}

/// The options that a help lists: lines that begin with one, and what continues them further to the right.
fn options(help: &str) -> Vec<Choice> {
    let mut choices: Vec<Choice> = Vec::new();
    let mut is_option = false;
    for line in help.lines() {
        let text = line.trim_start();
        match line.len() - text.len() {
            2 if text.starts_with('-') => {
                let (form, about) = text.split_once("  ").unwrap_or((text, ""));
                choices.push(Choice { form: form.into(), about: about.trim_start().into() });
                is_option = true;
            }
            8.. if is_option => {
                let about = &mut choices.last_mut().expect("an option was before").about;
                *about = format!("{about} {text}");
            }
            _ => is_option = false,
        }
    }
    choices
}

/// The page of `flatland`, which only that program knows.
fn of_flatland(context: &Context) -> Result<Page> {
    let mut command = context.host().find(Program::Flatland)?.command();
    let failed =
        |why: &dyn std::fmt::Display| format!("flatland does not tell its help ({why}): build it again");
    let output = command.arg("--help").output().map_err(|error| failed(&error))?;
    let text = String::from_utf8(output.stdout).map_err(|error| failed(&error))?;
    Ok(Page { name: "flatland".into(), options: options(&text), text, commands: Vec::new() })
}

/// The page of the commands.
fn of_commands(table: &Table, flatland: &Page) -> Page {
    let text = table.overview();
    let mut commands: Vec<Part> = Vec::new();
    for doc in table.docs() {
        if commands.iter().any(|command| command.name == doc.name()) {
            // Another form of a command, which is in its help.
            continue;
        }
        let text = table.help(doc.name()).unwrap_or_default();
        let mut own = options(&text);
        if doc.passed_to == Some(Program::Flatland.name()) {
            own.extend(flatland.options.iter().cloned());
        }
        commands.push(Part { name: doc.name(), about: doc.about, options: own, text });
    }
    Page { name: caller::cargo().into(), options: options(&text), text, commands }
}

/// Prints what completes the commands, and `flatland`, in a shell.
pub fn completions(context: &Context, table: &Table, shell: Shell) -> Result<()> {
    let flatland = of_flatland(context)?;
    let commands = of_commands(table, &flatland);
    print(&completions::script(shell, &commands, &flatland))
}

/// Prints the manual's page of the commands, or writes both pages to a folder.
pub fn man(context: &Context, table: &Table, folder: Option<&Path>) -> Result<()> {
    let flatland = of_flatland(context)?;
    let commands = of_commands(table, &flatland);
    let Some(folder) = folder else { return print(&man::page(&commands)) };
    let folder = context.callers_folder().join(folder);
    for page in [commands, flatland] {
        let path = folder.join(format!("{}.1", page.name.replace(' ', "-")));
        fs::create_dir_all(&folder)
            .and_then(|()| fs::write(&path, man::page(&page)))
            .map_err(|error| format!("cannot write `{}` ({error}): give another folder", path.display()))?;
    }
    Ok(())
}
