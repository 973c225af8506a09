//! `--format junit`: a JUnit document, written when all tests have ended. Beyond libtest's it has the ignored tests, why a
//! test failed, and its recording as Jenkins and GitLab know attachments.

use flatland::markup::escaped;

use super::{Printer, ignore_reason};
use crate::options::Options;
use crate::outcome::{Done, Outcome, Summary};
use crate::suite::Test;

pub struct Junit {
    show_output: bool,
    cases: String,
}

impl Junit {
    pub fn new(options: &Options) -> Self {
        Self { show_output: options.show_output, cases: String::new() }
    }
}

impl Printer for Junit {
    fn begin(&mut self, _: usize) -> String {
        String::new()
    }

    fn started(&mut self, _: &Test) -> String {
        String::new()
    }

    fn ended(&mut self, test: &Test, done: Done) -> String {
        let (class, name) = test.name.rsplit_once("::").unwrap_or(("crate", &test.name));
        let failure =
            |kind: &str, why: &str| format!("<failure message=\"{}\" type=\"{kind}\"/>", escaped(why));
        let mut inside = match &done.result {
            Outcome::Passed => String::new(),
            Outcome::Failed(why) => failure("assert", why),
            Outcome::TimedOut(why) => failure("timeout", why),
            Outcome::Ignored => match ignore_reason(test) {
                Some(why) => format!("<skipped message=\"{}\"/>", escaped(why)),
                None => "<skipped/>".into(),
            },
        };
        let mut output = String::new();
        if self.show_output || done.result.failure().is_some() {
            output += &done.output;
        }
        if let Some(recording) = &done.recording {
            output += &format!("[[ATTACHMENT|{}]]\n", recording.display());
        }
        if !output.is_empty() {
            // A parser would read a carriage return as an end of line (XML 1.0, section 2.11).
            inside += &format!("<system-out>{}</system-out>", escaped(&output).replace('\r', "&#13;"));
        }
        self.cases += &format!(
            "<testcase classname=\"{}\" name=\"{}\" time=\"{}\"",
            escaped(class),
            escaped(name),
            done.time.as_secs_f64()
        );
        self.cases += &if inside.is_empty() { "/>".into() } else { format!(">{inside}</testcase>") };
        String::new()
    }

    fn end(&mut self, summary: &Summary) -> String {
        let Summary { passed, failed, ignored, time, .. } = summary;
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><testsuites><testsuite name=\"test\" package=\"test\" id=\"0\" \
             errors=\"0\" failures=\"{failed}\" tests=\"{}\" skipped=\"{ignored}\" time=\"{:.3}\">{}<system-out/><system-err/>\
             </testsuite></testsuites>\n",
            passed + failed + ignored,
            time.as_secs_f64(),
            self.cases
        )
    }
}
