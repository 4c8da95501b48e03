//! A client of the chat, and the chat on each server.

#![allow(dead_code, reason = "each test needs a part of it")]

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use adapter_web::{Application, DynApplication, Server, ServerConfig, ServerHandle};
use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

/// Nothing takes this long unless it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Every server, or the one that `ADAPTER_SERVER` names.
pub(crate) fn servers() -> Vec<&'static dyn Server> {
    let wanted = std::env::var("ADAPTER_SERVER").ok().filter(|name| !name.is_empty());
    match wanted {
        Some(name) => vec![adapter_web::registry::server(&name).unwrap()],
        None => adapter_web::servers(),
    }
}

pub(crate) fn serve(server: &dyn Server, application: impl Application) -> (ServerHandle, SocketAddr) {
    // Shown where the test fails.
    println!("on {}", server.info().name);
    serve_at(server, application, 0)
}

pub(crate) fn serve_at(server: &dyn Server, application: impl Application, port: u16) -> (ServerHandle, SocketAddr) {
    let config = ServerConfig::default().bind(format!("127.0.0.1:{port}").parse().unwrap());
    let handle = server.start(DynApplication::new(application), config).unwrap();
    let addr = handle.local_addrs()[0].tcp().unwrap();
    (handle, addr)
}

/// Waits for `there`, which has to come.
pub(crate) fn until<T>(what: &str, mut there: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = there() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Somebody with a WebSocket.
pub(crate) struct Member {
    socket: WebSocket<TcpStream>,
    /// Messages that came before an answer.
    heard: VecDeque<(String, String, String)>,
    /// Which process it is with, where the proxy says so.
    pub(crate) process: String,
}

impl Member {
    /// Comes in, and what there is to know.
    ///
    /// # Errors
    /// Why it can't.
    pub(crate) fn try_enter(addr: SocketAddr, query: &str) -> Result<(Self, Value), String> {
        let stream = TcpStream::connect(addr).map_err(|error| error.to_string())?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let opened = tungstenite::client(format!("ws://{addr}/ws?{query}"), stream);
        let (socket, answer) = opened.map_err(|error| error.to_string())?;
        let process = answer.headers().get("x-process").map(|name| name.to_str().unwrap().to_owned());
        let mut member = Member { socket, heard: VecDeque::new(), process: process.unwrap_or_default() };
        let mut first = member.read()?;
        Ok((member, first["news"].take()))
    }

    pub(crate) fn enter(addr: SocketAddr, query: &str) -> (Self, Value) {
        Self::try_enter(addr, query).unwrap()
    }

    /// The next frame.
    ///
    /// # Errors
    /// The connection is lost, or closed, or there is nothing for too long.
    pub(crate) fn read(&mut self) -> Result<Value, String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.socket.read().map_err(|error| error.to_string())? {
                Message::Text(text) => return serde_json::from_str(&text).map_err(|error| error.to_string()),
                Message::Close(close) => return Err(format!("closed: {close:?}")),
                // A server that says nothing pings.
                _ if Instant::now() > deadline => return Err("nothing is said".to_owned()),
                _ => {}
            }
        }
    }

    pub(crate) fn send(&mut self, frame: &str) -> Result<(), String> {
        self.socket.send(Message::text(frame)).map_err(|error| error.to_string())
    }

    /// Says it, and gives the answer to it.
    ///
    /// # Errors
    /// The connection is lost: nobody knows whether it was said.
    pub(crate) fn try_say(&mut self, key: &str, text: &str) -> Result<Value, String> {
        self.send(&json!({"key": key, "text": text}).to_string())?;
        loop {
            let frame = self.read()?;
            let answered = |how: &str| frame[how]["key"] == key;
            if answered("accepted") || answered("refused") {
                return Ok(frame);
            }
            self.heard.extend(messages(&frame["news"]));
        }
    }

    pub(crate) fn say(&mut self, key: &str, text: &str) -> Value {
        self.try_say(key, text).unwrap()
    }

    /// The id under which it is kept.
    pub(crate) fn said(&mut self, key: &str, text: &str) -> String {
        let answer = self.say(key, text);
        answer["accepted"]["id"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    /// As [`said`](Self::said), again and again while it is refused.
    pub(crate) fn until_said(&mut self, key: &str, text: &str) -> String {
        until("it is accepted", || self.say(key, text)["accepted"]["id"].as_str().map(str::to_owned))
    }

    /// The next message: id, name and text.
    pub(crate) fn hear(&mut self) -> (String, String, String) {
        while self.heard.is_empty() {
            let frame = self.read().unwrap();
            self.heard.extend(messages(&frame["news"]));
        }
        self.heard.pop_front().unwrap()
    }

    /// The texts with their ids, of the welcome and then of what comes, so many in all.
    pub(crate) fn hear_all(&mut self, welcome: &Value, count: usize) -> Vec<(String, String)> {
        let mut all = messages(welcome);
        while all.len() < count {
            all.push(self.hear());
        }
        all.into_iter().map(|(id, _, text)| (id, text)).collect()
    }
}

/// Id, name and text of each.
pub(crate) fn messages(news: &Value) -> Vec<(String, String, String)> {
    let field = |message: &Value, name: &str| message[name].as_str().unwrap_or_else(|| panic!("{message}")).to_owned();
    let all = news["messages"].as_array().into_iter().flatten();
    all.map(|message| (field(message, "id"), field(message, "name"), field(message, "text"))).collect()
}
