//! The machine without watchers: what `machine.rs` has for them, taken out of its text.

/// What is to be found, and what comes in its place: the run loop as it would be had nobody ever thought of watching.
const CHANGES: &[(&str, &str)] = &[
    ("if W::HOLDS {\n            limits = limits.coming_back();\n        }", ""),
    (
        "if let Ok(outcome) = &result
            && let Err(error) =
                self.watched(&mut limits, watcher, |watcher, engine| watcher.ended(engine, outcome))
        {
            result = Err(error);
        }",
        "",
    ),
    (".saturating_sub(limits.held())", ""),
    (
        "if let Some(End::Stopped(stop)) =
            self.watched(limits, watcher, |watcher, engine| watcher.begins(engine))?
        {
            return self.stopped(stop);
        }",
        "",
    ),
    (
        "let mut transfer = None;
            let mut note = |port, width, direction, data: &[u8]| {
                if W::WANTS_TRANSFERS {
                    transfer = Some(Transfer { port, width, direction, data: data.to_vec() });
                }
            };",
        "",
    ),
    (
        "if matches!(end, None | Some(End::Exited(_))) {
                        note(port, width, Direction::Out, data);
                    }",
        "",
    ),
    (
        "match self.ports.input(port, width, data, limits)? {
                        Some(End::Kicked) => self.go_on_waiting(limits, &mut reminder, watcher, &mut note)?,
                        end => {
                            if end.is_none() {
                                note(port, width, Direction::In, data);
                            }
                            end
                        }
                    }",
        "self.ports.input(port, width, data, limits)?",
    ),
    ("self.on_watched_kick(limits, &mut reminder, watcher)?", "self.on_kick(limits, &mut reminder)?"),
    (
        "Exit::Debug(stop) => {
                    self.watched(limits, watcher, |watcher, engine| watcher.stopped(engine, stop))?
                }",
        "Exit::Debug(_) => None,",
    ),
    (
        "if let Some(transfer) = transfer {
                watcher.transferred(&mut self.engine, &transfer)?;
            }",
        "",
    ),
];

/// The text of `machine.rs` without what it has for watchers.
pub fn unwatched(machine: &str) -> Result<String, String> {
    let mut text = machine.to_owned();
    for (what, instead) in CHANGES {
        if text.matches(what).count() != 1 {
            return Err(format!(
                "machine.rs has changed where it watches: bring host/benches/watching/unwatched.rs up to date, \
                 which looks for\n{what}"
            ));
        }
        text = text.replace(what, instead);
    }
    Ok(text)
}
