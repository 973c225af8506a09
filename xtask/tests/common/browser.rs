//! A browser without a window, which tells what it has to say of a page: Chromium, by its DevTools protocol
//! (<https://chromedevtools.github.io/devtools-protocol/>) over a pipe, where each message ends with a zero byte.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::common::file;

/// What Chromium is called, by system and by who packs it.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// Longer than any answer takes, also on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(120);

pub struct Browser {
    child: Child,
    to: ChildStdin,
    from: Receiver<Value>,
    session: Option<String>,
    calls: u64,
    /// What has happened and was not looked at yet.
    events: Vec<Value>,
    /// What to answer a page that asks.
    pub answer: String,
}

impl Browser {
    /// Starts one with a profile of this name, and opens an empty page.
    pub fn start(name: &str) -> Self {
        let folders: Vec<_> = env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect();
        let program = NAMES.iter().find(|name| folders.iter().any(|folder| folder.join(name).is_file()));
        let program = program.expect("there is no browser: install one with `apt-get install chromium`");
        let profile = file(name);
        let _ = fs::remove_dir_all(&profile);
        // It reads from descriptor 3 and writes to 4. The pages are ours, and it may run as root, so there is no sandbox.
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$@\" 3<&0 4>&1 </dev/null >&2", "sh", program]).args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--no-first-run",
            "--hide-scrollbars",
            "--force-color-profile=srgb",
            "--lang=en",
            "--remote-debugging-pipe",
        ]);
        command.arg(format!("--user-data-dir={}", profile.display())).arg("about:blank");
        // Its standard error is about the machine that it runs on.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("sh is there");
        let to = child.stdin.take().expect("it is piped");
        let mut output = BufReader::new(child.stdout.take().expect("it is piped"));
        let (send, from) = channel();
        thread::spawn(move || {
            let mut message = Vec::new();
            while output.read_until(0, &mut message).is_ok_and(|len| len > 0) {
                message.pop();
                let Ok(value) = serde_json::from_slice(&message) else { return };
                if send.send(value).is_err() {
                    return;
                }
                message.clear();
            }
        });
        let mut browser =
            Self { child, to, from, session: None, calls: 0, events: Vec::new(), answer: String::new() };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let id = &target["targetId"];
        let session = browser.call("Target.attachToTarget", json!({ "targetId": id, "flatten": true }));
        browser.session = session["sessionId"].as_str().map(Into::into);
        for domain in ["Audits", "Log", "Network", "Page", "Runtime"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser.resize(1200, 800);
        browser
    }

    /// Sends a command and returns its result.
    #[track_caller]
    pub fn call(&mut self, method: &str, parameters: Value) -> Value {
        let id = self.send(method, parameters);
        loop {
            let mut message = self.receive();
            if message["id"] == id {
                assert!(message["error"].is_null(), "{method}: {}", message["error"]);
                return message["result"].take();
            }
            self.events.push(message);
        }
    }

    fn send(&mut self, method: &str, parameters: Value) -> u64 {
        self.calls += 1;
        let mut message = json!({ "id": self.calls, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.to.write_all(&bytes).expect("the browser is there");
        self.calls
    }

    fn receive(&mut self) -> Value {
        let message = self.from.recv_timeout(PATIENCE).expect("the browser answers");
        // Until a page that asks has its answer, nothing goes on.
        if message["method"] == "Page.javascriptDialogOpening" {
            let answer = json!({ "accept": true, "promptText": self.answer });
            self.send("Page.handleJavaScriptDialog", answer);
        }
        message
    }

    /// Makes the window this large.
    pub fn resize(&mut self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", size);
    }

    /// Opens a page, and waits until it is there.
    #[track_caller]
    pub fn open(&mut self, url: &str) {
        // Otherwise another fragment of the page that is open would load nothing.
        self.go("about:blank");
        self.events.clear();
        self.go(url);
    }

    #[track_caller]
    fn go(&mut self, url: &str) {
        self.events.retain(|event| event["method"] != "Page.loadEventFired");
        let result = self.call("Page.navigate", json!({ "url": url }));
        assert!(result["errorText"].is_null(), "{url}: {}", result["errorText"]);
        while !self.events.iter().any(|event| event["method"] == "Page.loadEventFired") {
            let event = self.receive();
            self.events.push(event);
        }
    }

    /// What an expression in JavaScript is in the page.
    #[track_caller]
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let parameters = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let mut result = self.call("Runtime.evaluate", parameters);
        assert!(result["exceptionDetails"].is_null(), "{expression}: {result}");
        result["result"]["value"].take()
    }

    /// The texts that an expression is in the page.
    #[track_caller]
    pub fn texts(&mut self, expression: &str) -> Vec<String> {
        let value = self.evaluate(expression);
        let texts = value.as_array().unwrap_or_else(|| panic!("{expression} is {value}"));
        texts.iter().map(|text| text.as_str().expect("it is a text").to_owned()).collect()
    }

    /// What the browser has complained of since the page was opened, and what the page has asked for elsewhere.
    pub fn complaints(&mut self) -> Vec<String> {
        // What was sent before this is answered has come.
        self.evaluate("0");
        let is_complaint = |event: &Value| {
            let parameters = &event["params"];
            match event["method"].as_str().unwrap_or_default() {
                "Runtime.exceptionThrown" | "Network.loadingFailed" | "Audits.issueAdded" => true,
                "Runtime.consoleAPICalled" => parameters["type"] != "log" && parameters["type"] != "info",
                "Log.entryAdded" => parameters["entry"]["level"] != "verbose",
                "Network.requestWillBeSent" => {
                    let url = parameters["request"]["url"].as_str().unwrap_or_default();
                    !["file:", "data:", "about:"].iter().any(|scheme| url.starts_with(scheme))
                }
                _ => false,
            }
        };
        self.events.drain(..).filter(is_complaint).map(|event| event.to_string()).collect()
    }

    /// A picture of a part of the page, from left, top, width and height, as PNG in base64.
    pub fn picture(&mut self, part: &Value) -> String {
        let clip = json!({ "x": part[0], "y": part[1], "width": part[2], "height": part[3], "scale": 1 });
        let picture = self.call("Page.captureScreenshot", json!({ "format": "png", "clip": clip }));
        picture["data"].as_str().expect("it is base64").to_owned()
    }

    /// Says whether the pages that are opened after this may have scripts.
    pub fn allow_scripts(&mut self, allowed: bool) {
        self.call("Emulation.setScriptExecutionDisabled", json!({ "value": !allowed }));
    }

    /// Presses a key.
    pub fn press(&mut self, key: &str) {
        for kind in ["keyDown", "keyUp"] {
            self.call("Input.dispatchKeyEvent", json!({ "type": kind, "key": key }));
        }
    }

    /// Clicks at a point of the page, which is an expression in JavaScript.
    #[track_caller]
    pub fn click(&mut self, point: &str) {
        let point = self.evaluate(point);
        for kind in ["mousePressed", "mouseReleased"] {
            let event =
                json!({ "type": kind, "x": point[0], "y": point[1], "button": "left", "clickCount": 1 });
            self.call("Input.dispatchMouseEvent", event);
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address of a file.
pub fn address(path: &Path) -> String {
    // No path of the checkout's has characters that are special in an address, but the checkout's may.
    let mut text = String::from("file://");
    for byte in path.to_str().expect("the path is UTF-8").bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' => {
                text.push(byte.into())
            }
            _ => text += &format!("%{byte:02X}"),
        }
    }
    text
}
