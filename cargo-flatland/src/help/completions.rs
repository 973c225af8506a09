//! Scripts for shells, which complete commands and options, and files elsewhere.

use std::collections::BTreeSet;

use super::{Choice, Page};
use crate::options::Shell;

/// The script of a shell, for the commands and for `flatland`.
pub fn script(shell: Shell, commands: &Page, flatland: &Page) -> String {
    match shell {
        Shell::Bash => bash(commands, flatland),
        Shell::Zsh => zsh(commands, flatland),
        Shell::Fish => fish(commands, flatland),
        Shell::Power => power_shell(commands, flatland),
    }
}

/// The word behind `cargo`.
fn word(commands: &Page) -> &str {
    commands.name.rsplit(' ').next().unwrap_or_default()
}

/// The names of all options, each once.
fn names(options: &[Choice]) -> BTreeSet<&str> {
    options.iter().flat_map(Choice::names).collect()
}

fn joined(words: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    words.into_iter().map(|word| word.as_ref().to_owned()).collect::<Vec<_>>().join(" ")
}

fn bash(commands: &Page, flatland: &Page) -> String {
    let word = word(commands);
    let own = joined(names(&commands.options));
    let all = joined(commands.commands.iter().map(|command| command.name));
    let mut cases = String::new();
    for command in &commands.commands {
        cases += &format!("    {}) words=\"{}\" ;;\n", command.name, joined(names(&command.options)));
    }
    format!(
        r#"# Behind an option, and where no option is begun, bash completes files.
_flatland_complete() {{
  COMPREPLY=($(compgen -W "$1" -- "${{COMP_WORDS[COMP_CWORD]}}"))
}}

_flatland() {{
  case "${{COMP_WORDS[COMP_CWORD]}}" in
    -*) _flatland_complete "{flatland}" ;;
  esac
}}

_cargo_{word}() {{
  local at=1 words=""
  [ "${{COMP_WORDS[0]##*/}}" != cargo ] || at=2
  if [ "$COMP_CWORD" -le "$at" ]; then
    _flatland_complete "{all} {own}"
    return
  fi
  case "${{COMP_WORDS[at]}}" in
{cases}  esac
  case "${{COMP_WORDS[COMP_CWORD]}}" in
    -*) _flatland_complete "$words {own}" ;;
  esac
}}

# Other words of cargo are completed as before.
_cargo_before_{word}="$(complete -p cargo 2> /dev/null | sed -n 's/.*-F \([^ ]*\).*/\1/p')"
_cargo_with_{word}() {{
  if [ "${{COMP_WORDS[1]}}" = {word} ] && [ "$COMP_CWORD" -gt 1 ]; then
    _cargo_{word}
  elif [ -n "$_cargo_before_{word}" ]; then
    "$_cargo_before_{word}" "$@"
  else
    [ "$COMP_CWORD" -gt 1 ] || _flatland_complete {word}
  fi
}}

complete -o bashdefault -o default -F _flatland flatland
complete -o bashdefault -o default -F _cargo_{word} cargo-{word}
complete -o bashdefault -o default -F _cargo_with_{word} cargo
"#,
        flatland = joined(names(&flatland.options)),
    )
}

/// A text for a shell's single quotes, which end it with `quote` in their own way.
fn quoted(text: &str, quote: &str) -> String {
    format!("'{}'", text.replace('\'', quote))
}

fn zsh(commands: &Page, flatland: &Page) -> String {
    let word = word(commands);
    // A colon separates a word from what it means.
    let described = |word: &str, about: &str| {
        format!("    {}\n", quoted(&format!("{word}:{}", about.replace(':', "\\:")), "'\\''"))
    };
    let list = |options: &[Choice]| -> String {
        let all = options.iter().flat_map(|option| option.names().map(|name| described(name, &option.about)));
        all.collect()
    };
    let all: String = commands.commands.iter().map(|part| described(part.name, part.about)).collect();
    let mut cases = String::new();
    for command in &commands.commands {
        cases += &format!("  ({}) words_of=(\n{}  ) ;;\n", command.name, list(&command.options));
    }
    format!(
        r#"#compdef cargo-{word} flatland

_flatland() {{
  local -a words_of=(
{flatland}  )
  if [[ ${{words[CURRENT]}} = -* ]]; then _describe option words_of; else _files; fi
}}

_cargo-{word}() {{
  local -a commands=(
{all}  ) words_of=()
  if (( CURRENT == 2 )); then
    _describe command commands
    return
  fi
  case ${{words[2]}} in
{cases}  esac
  if [[ ${{words[CURRENT]}} = -* ]]; then _describe option words_of; else _files; fi
}}

if [ "$funcstack[1]" = _cargo-{word} ]; then
  case $service in
    (flatland) _flatland "$@" ;;
    (*) _cargo-{word} "$@" ;;
  esac
else
  compdef _flatland flatland
  compdef _cargo-{word} cargo-{word}
fi
"#,
        flatland = list(&flatland.options),
    )
}

fn fish(commands: &Page, flatland: &Page) -> String {
    let word = word(commands);
    let option = |program: &str, condition: &str, option: &Choice| -> String {
        let form: String = option
            .names()
            .map(|name| match name.strip_prefix("--") {
                Some(long) => format!(" -l {long}"),
                None if name.len() == 2 => format!(" -s {}", &name[1..]),
                None => format!(" -o {}", &name[1..]),
            })
            .collect();
        let value = if option.needs_value() { " -r" } else { "" };
        format!("complete -c {program}{condition}{form}{value} -d {}\n", quoted(&option.about, "\\'"))
    };
    let all = joined(commands.commands.iter().map(|part| part.name));
    let inside = format!("__fish_seen_subcommand_from {word}");
    let mut text = String::new();
    for choice in &flatland.options {
        text += &option("flatland", "", choice);
    }
    for (program, prefix) in
        [("cargo".to_owned(), format!("{inside}; and ")), (format!("cargo-{word}"), String::new())]
    {
        for part in &commands.commands {
            let condition = format!(" -n '{prefix}not __fish_seen_subcommand_from {all}'");
            text += &format!(
                "complete -c {program}{condition} -f -a {} -d {}\n",
                part.name,
                quoted(part.about, "\\'")
            );
            let condition = format!(" -n '{prefix}__fish_seen_subcommand_from {}'", part.name);
            part.options.iter().for_each(|choice| text += &option(&program, &condition, choice));
        }
    }
    text
}

fn power_shell(commands: &Page, flatland: &Page) -> String {
    let word = word(commands);
    let list = |words: &mut dyn Iterator<Item = &str>| {
        words.map(|word| quoted(word, "''")).collect::<Vec<_>>().join(", ")
    };
    let mut cases = String::new();
    for command in &commands.commands {
        let options = list(&mut names(&command.options).into_iter());
        cases += &format!("        '{}' {{ @({options}) }}\n", command.name);
    }
    format!(
        r#"Register-ArgumentCompleter -Native -CommandName flatland, cargo, cargo-{word} -ScriptBlock {{
    param($begun, $line, $position)
    $given = @($line.CommandElements | ForEach-Object {{ "$_" }})
    $program = [System.IO.Path]::GetFileNameWithoutExtension($given[0])
    if ($program -eq 'cargo') {{
        if ($given.Count -lt 2 -or $given[1] -ne '{word}') {{ return }}
        $given = @($given[1..($given.Count - 1)])
    }}
    $is_first = $given.Count -lt 2 -or ($given.Count -eq 2 -and $begun -ne '')
    $all = if ($program -eq 'flatland') {{
        @({flatland})
    }} elseif ($is_first) {{
        @({all})
    }} else {{
        switch ($given[1]) {{
{cases}        }}
    }}
    $all | Where-Object {{ $_ -like "$begun*" }} | ForEach-Object {{
        [System.Management.Automation.CompletionResult]::new($_, $_, 'ParameterName', $_)
    }}
}}
"#,
        flatland = list(&mut names(&flatland.options).into_iter()),
        all = list(&mut commands.commands.iter().map(|part| part.name)),
    )
}
