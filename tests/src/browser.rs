//! A headless Chromium with one page, driven by the DevTools protocol over a pipe: no port, and it
//! ends with the test because the pipe does.

use crate::parts::until;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};

#[derive(Debug, Default)]
struct Heard {
    answers: BTreeMap<u64, Value>,
    asked: Vec<String>,
    complaints: Vec<String>,
}

/// The browser and its page.
#[derive(Debug)]
pub struct Browser {
    child: Child,
    pipe: ChildStdin,
    heard: Arc<Mutex<Heard>>,
    sent: u64,
    session: Option<String>,
    profile: tempfile::TempDir,
}

impl Browser {
    /// Opens a page, running `first` in it before any script of its own.
    ///
    /// # Panics
    /// When Chromium is not there or does not answer.
    pub fn open(url: &str, first: &str) -> Self {
        let profile = tempfile::tempdir().expect("a temporary folder");
        let log = std::fs::File::create(profile.path().join("log")).expect("a log");
        // Chromium reads commands on descriptor 3 and answers on 4.
        let mut child = Command::new("sh")
            .args(["-c", "exec \"$@\" 3<&0 4>&1 </dev/null >&2", "sh", "chromium", "--headless", "--no-sandbox"])
            .args(["--remote-debugging-pipe", "--disable-gpu", "--disable-breakpad", "--disable-dev-shm-usage"])
            .args(["--no-first-run", "--disable-background-networking", "--disable-component-update"])
            .args(["--disable-sync", "--window-size=1920,1080"])
            .arg(format!("--user-data-dir={}", profile.path().join("profile").display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .process_group(0)
            .spawn()
            .expect("a shell");
        let (pipe, out) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let heard = Arc::new(Mutex::new(Heard::default()));
        let kept = Arc::clone(&heard);
        std::thread::spawn(move || listen(out, &kept));
        let mut browser = Self { child, pipe, heard, sent: 0, session: None, profile };
        let target = browser.call("Target.createTarget", &json!({"url": "about:blank"}))["targetId"].clone();
        let session = browser.call("Target.attachToTarget", &json!({"targetId": target, "flatten": true}));
        browser.session = session["sessionId"].as_str().map(str::to_owned);
        for domain in ["Network", "Runtime", "Log", "Page"] {
            browser.call(&format!("{domain}.enable"), &json!({}));
        }
        browser.call("Page.addScriptToEvaluateOnNewDocument", &json!({"source": first}));
        browser.call("Page.navigate", &json!({"url": url}));
        browser
    }

    fn call(&mut self, method: &str, params: &Value) -> Value {
        self.sent += 1;
        let mut message = json!({"id": self.sent, "method": method, "params": params});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        // A browser that is gone is told of below, with its log.
        let _ = self.pipe.write_all(format!("{message}\0").as_bytes());
        let answer = until(&format!("Chromium's answer to {method}"), || {
            let log = || std::fs::read_to_string(self.profile.path().join("log")).unwrap_or_default();
            let ended = self.child.try_wait().expect("ours");
            assert!(ended.is_none(), "no Chromium: {}\nInstall chromium (Debian's name), or run ./tests/run", log());
            self.heard.lock().expect("nobody panics with it").answers.remove(&self.sent)
        });
        assert!(answer["error"].is_null(), "{method}: {answer}");
        answer["result"].clone()
    }

    /// The value of an expression in the page, waited for when it is a promise.
    ///
    /// # Panics
    /// When it throws.
    pub fn value(&mut self, expression: &str) -> Value {
        let asked = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let answer = self.call("Runtime.evaluate", &asked);
        assert!(answer["exceptionDetails"].is_null(), "{answer:#}");
        answer["result"]["value"].clone()
    }

    /// Every address that was asked for, and everything the browser had to complain about.
    ///
    /// # Panics
    /// When the listener panicked.
    pub fn conduct(&self) -> (Vec<String>, Vec<String>) {
        let heard = self.heard.lock().expect("nobody panics with it");
        (heard.asked.clone(), heard.complaints.clone())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Its helpers are in the group that it leads.
        let _ = Command::new("kill").args(["-KILL", "--", &format!("-{}", self.child.id())]).status();
        let _ = self.child.wait();
    }
}

fn listen(out: impl Read, heard: &Mutex<Heard>) {
    for message in BufReader::new(out).split(0).map_while(Result::ok) {
        let Ok(message) = serde_json::from_slice::<Value>(&message) else { continue };
        let mut heard = heard.lock().expect("nobody panics with it");
        if let Some(id) = message["id"].as_u64() {
            heard.answers.insert(id, message);
            continue;
        }
        let params = &message["params"];
        match message["method"].as_str().unwrap_or_default() {
            "Network.requestWillBeSent" => {
                heard.asked.extend(params["request"]["url"].as_str().map(str::to_owned));
            }
            "Runtime.exceptionThrown" => heard.complaints.push(params.to_string()),
            "Runtime.consoleAPICalled" if matches!(params["type"].as_str(), Some("error" | "warning" | "assert")) => {
                heard.complaints.push(params.to_string());
            }
            "Log.entryAdded" if matches!(params["entry"]["level"].as_str(), Some("error" | "warning")) => {
                heard.complaints.push(params.to_string());
            }
            _ => {}
        }
    }
}
