//! A client of WebDriver (W3C) that is as large as these tests need: JSON over HTTP/1.1, one connection a command.
//!
//! One chromedriver runs for all cases; each has a session, which is a browser of its own. Sessions end when they are
//! dropped, chromedriver with the last one who holds it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

/// For one command. A browser's start takes a second, but not on a machine that does much else.
const DEADLINE: Duration = Duration::from_secs(120);
/// For what a page is to show.
const PATIENCE: Duration = Duration::from_secs(60);

const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"];
const FLAGS: [&str; 12] = [
    "--headless",
    // Containers rarely allow the sandbox; the only pages are our own.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    // The window that is not looked at goes on as the other.
    "--disable-background-timer-throttling",
    "--disable-renderer-backgrounding",
];

/// The key in the text of [`Session::type_into`].
pub(crate) const ENTER: &str = "\u{E007}";

/// A running chromedriver.
pub(crate) struct Driver {
    child: Child,
    addr: SocketAddr,
    browser: PathBuf,
}

impl Driver {
    /// Starts it; an error if there is none, or no browser.
    pub(crate) fn start() -> Result<Self, String> {
        let program = installed("chromedriver").ok_or("chromedriver is not installed")?;
        let browser = BROWSERS.into_iter().find_map(installed).ok_or("chromium is not installed")?;
        let mut child = Command::new(program)
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver can be started");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, port) = channel();
        thread::spawn(move || {
            let mut line = String::new();
            while stdout.read_line(&mut line).is_ok_and(|read| read > 0) {
                let said = line.trim_end().trim_end_matches('.');
                if let Some(port) = said.rsplit_once("started successfully on port ") {
                    let _ = sender.send(port.1.parse().expect("a port"));
                }
                line.clear();
            }
        });
        let mut driver = Driver { child, addr: (Ipv4Addr::LOCALHOST, 0).into(), browser };
        driver.addr.set_port(port.recv_timeout(DEADLINE).expect("chromedriver says its port"));
        Ok(driver)
    }

    /// A browser of its own, with one window. `name` is the beginning of its screenshots' names.
    pub(crate) fn session(&self, name: &str) -> Session {
        let capabilities = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            // They are made for the test.
            "acceptInsecureCerts": true,
            "goog:chromeOptions": { "binary": self.browser, "args": FLAGS },
            "timeouts": { "script": PATIENCE.as_millis() as u64, "pageLoad": PATIENCE.as_millis() as u64 },
        } } });
        let started = call(self.addr, "POST", "/session", Some(&capabilities)).expect("a browser can be started");
        let id = started["sessionId"].as_str().expect("a session has an id").to_owned();
        Session { addr: self.addr, id, name: name.to_owned(), shots: 0 }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A browser.
pub(crate) struct Session {
    addr: SocketAddr,
    id: String,
    name: String,
    shots: u32,
}

impl Session {
    fn try_command(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, String> {
        call(self.addr, method, &format!("/session/{}{path}", self.id), body)
    }

    fn post(&mut self, path: &str, body: &Value) -> Value {
        match self.try_command("POST", path, Some(body)) {
            Ok(value) => value,
            Err(problem) => {
                self.screenshot("failed");
                let text = json!({ "script": "return document.body.innerText", "args": [] });
                let shown = self.try_command("POST", "/execute/sync", Some(&text)).unwrap_or_default();
                panic!("{path} {body}: {problem}; the page shows {shown}");
            }
        }
    }

    pub(crate) fn open(&mut self, url: &str) {
        self.post("/url", &json!({ "url": url }));
    }

    pub(crate) fn reload(&mut self) {
        self.post("/refresh", &json!({}));
    }

    pub(crate) fn resize(&mut self, width: u32, height: u32) {
        self.post("/window/rect", &json!({ "width": width, "height": height }));
    }

    pub(crate) fn window(&mut self) -> String {
        let handle = self.try_command("GET", "/window", None).expect("there is a window");
        handle.as_str().expect("a handle").to_owned()
    }

    /// Opens another window and makes it the one that commands are for.
    pub(crate) fn new_window(&mut self) -> String {
        let window = self.post("/window/new", &json!({ "type": "window" }));
        let handle = window["handle"].as_str().expect("a handle").to_owned();
        self.switch_to(&handle);
        handle
    }

    pub(crate) fn switch_to(&mut self, window: &str) {
        self.post("/window", &json!({ "handle": window }));
    }

    /// What the media query `prefers-color-scheme` says.
    pub(crate) fn color_scheme(&mut self, scheme: &str) {
        let params = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.post("/goog/cdp/execute", &json!({ "cmd": "Emulation.setEmulatedMedia", "params": params }));
    }

    pub(crate) fn click(&mut self, selector: &str) {
        let element = self.find(selector);
        self.post(&format!("{element}/click"), &json!({}));
    }

    /// Types as a person does, key by key.
    pub(crate) fn type_into(&mut self, selector: &str, keys: &str) {
        let element = self.find(selector);
        self.post(&format!("{element}/value"), &json!({ "text": keys }));
    }

    pub(crate) fn clear(&mut self, selector: &str) {
        let element = self.find(selector);
        self.post(&format!("{element}/clear"), &json!({}));
    }

    fn find(&mut self, selector: &str) -> String {
        let found = self.post("/element", &json!({ "using": "css selector", "value": selector }));
        let id = found["element-6066-11e4-a52e-4f735466cecf"].as_str().expect("an element has an id");
        format!("/element/{id}")
    }

    /// Waits until the expression of JavaScript is truthy, looking again whenever the page changes; its value.
    pub(crate) fn wait(&mut self, expression: &str) -> Value {
        let script = format!(
            "const done = arguments[arguments.length - 1];
             const all = selector => [...document.querySelectorAll(selector)];
             const lines = selector => all(selector).map(element => element.lastChild.textContent);
             const text = selector => document.querySelector(selector)?.textContent ?? '';
             const observer = new MutationObserver(look);
             function look() {{
               const value = {expression};
               if (value) {{ observer.disconnect(); done(value); }}
             }}
             observer.observe(document, {{ subtree: true, childList: true, attributes: true, characterData: true }});
             look();"
        );
        self.post("/execute/async", &json!({ "script": script, "args": [] }))
    }

    pub(crate) fn screenshot(&mut self, what: &str) {
        let shot = self.try_command("GET", "/screenshot", None).expect("a screenshot");
        let png = BASE64_STANDARD.decode(shot.as_str().expect("base64")).expect("base64");
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("browser");
        std::fs::create_dir_all(&directory).unwrap();
        self.shots += 1;
        std::fs::write(directory.join(format!("{}-{}-{what}.png", self.name, self.shots)), png).unwrap();
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Closes the browser. If that fails, chromedriver's end does it.
        let _ = self.try_command("DELETE", "", None);
    }
}

/// One command; the error is what WebDriver calls it, and its message.
fn call(addr: SocketAddr, method: &str, path: &str, body: Option<&Value>) -> Result<Value, String> {
    let exchange = || -> std::io::Result<Value> {
        let mut stream = TcpStream::connect_timeout(&addr, DEADLINE)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        let body = body.map(Value::to_string).unwrap_or_default();
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {addr}\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all((head + &body).as_bytes())?;
        let mut answer = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            answer.read_line(&mut line)?;
            match line.trim_end().split_once(':') {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.trim().parse().map_err(std::io::Error::other)?;
                }
                None if line.trim_end().is_empty() => break,
                _ => {}
            }
        }
        let mut body = vec![0; length];
        answer.read_exact(&mut body)?;
        Ok(serde_json::from_slice(&body)?)
    };
    let mut answer = exchange().map_err(|error| error.to_string())?;
    let value = answer["value"].take();
    match value.get("error").and_then(Value::as_str) {
        Some(error) => Err(format!("{error}: {}", value["message"].as_str().unwrap_or_default())),
        None => Ok(value),
    }
}

/// The path of a program, if it is installed.
fn installed(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(program)).find(|path| path.is_file())
}
