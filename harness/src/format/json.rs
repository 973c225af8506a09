//! `--format json`: an object in each line. Beyond libtest's, a failure has its `message` in any case, and its `recording`.

use super::{Printer, ignore_reason};
use crate::options::Options;
use crate::outcome::{Done, Outcome, Summary};
use crate::suite::Test;

pub fn list<'a>(tests: impl Iterator<Item = &'a Test> + Clone) -> String {
    let mut text = String::from("{ \"type\": \"suite\", \"event\": \"discovery\" }\n");
    let (mut count, mut ignored) = (0, 0);
    for test in tests {
        count += 1;
        ignored += usize::from(test.ignored.is_some());
        text += &format!(
            r#"{{ "type": "test", "event": "discovered", "name": {}, "ignore": {}, "ignore_message": {}, "source_path": {}, "start_line": {} }}"#,
            string(&test.name),
            test.ignored.is_some(),
            string(test.ignored.as_deref().unwrap_or_default()),
            string(&test.file),
            test.line
        );
        text.push('\n');
    }
    text + &format!(
        "{{ \"type\": \"suite\", \"event\": \"completed\", \"tests\": {count}, \"benchmarks\": 0, \
         \"total\": {count}, \"ignored\": {ignored} }}\n"
    )
}

/// A JSON string.
fn string(text: &str) -> String {
    jzon::stringify(text)
}

pub struct Json {
    shuffle: Option<u64>,
    show_output: bool,
}

impl Json {
    pub fn new(options: &Options) -> Self {
        Self { shuffle: options.shuffle, show_output: options.show_output }
    }
}

impl Printer for Json {
    fn begin(&mut self, tests: usize) -> String {
        let seed = self.shuffle.map_or(String::new(), |seed| format!(r#", "shuffle_seed": {seed}"#));
        format!("{{ \"type\": \"suite\", \"event\": \"started\", \"test_count\": {tests}{seed} }}\n")
    }

    fn started(&mut self, test: &Test) -> String {
        format!("{{ \"type\": \"test\", \"event\": \"started\", \"name\": {} }}\n", string(&test.name))
    }

    fn ended(&mut self, test: &Test, done: Done) -> String {
        let (event, mut rest) = match &done.result {
            Outcome::Passed => ("ok", String::new()),
            Outcome::Failed(why) => ("failed", format!(r#", "message": {}"#, string(why))),
            Outcome::TimedOut(why) => {
                ("failed", format!(r#", "reason": "time limit exceeded", "message": {}"#, string(why)))
            }
            Outcome::Ignored => {
                let why = ignore_reason(test).map(|why| format!(r#", "message": {}"#, string(why)));
                ("ignored", why.unwrap_or_default())
            }
        };
        if let Some(recording) = &done.recording {
            rest += &format!(r#", "recording": {}"#, string(&recording.to_string_lossy()));
        }
        let is_shown = self.show_output || done.result.failure().is_some();
        let output = match is_shown && !done.output.is_empty() {
            true => format!(r#", "stdout": {}"#, string(&done.output)),
            false => String::new(),
        };
        let time = match done.result {
            Outcome::Ignored => String::new(),
            _ => format!(r#", "exec_time": {}"#, done.time.as_secs_f64()),
        };
        let name = string(&test.name);
        format!("{{ \"type\": \"test\", \"name\": {name}, \"event\": \"{event}\"{time}{output}{rest} }}\n")
    }

    fn end(&mut self, summary: &Summary) -> String {
        let Summary { passed, failed, ignored, filtered_out, time } = summary;
        let event = if *failed == 0 { "ok" } else { "failed" };
        format!(
            "{{ \"type\": \"suite\", \"event\": \"{event}\", \"passed\": {passed}, \"failed\": {failed}, \
             \"ignored\": {ignored}, \"measured\": 0, \"filtered_out\": {filtered_out}, \"exec_time\": {} }}\n",
            time.as_secs_f64()
        )
    }
}
