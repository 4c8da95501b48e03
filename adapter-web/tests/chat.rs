//! The chat on every server of this build: WebSockets and long-polls in one room.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../examples/chat/chat.rs"]
mod chat;
#[path = "../examples/chat/log.rs"]
mod log;
#[path = "../examples/chat/query.rs"]
mod query;
#[path = "../examples/chat/room.rs"]
mod room;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use adapter_web::testing::Client;
use adapter_web::{DynApplication, ServerConfig, ServerHandle};
use serde_json::Value;
use tungstenite::Message;

use crate::chat::Chat;
use crate::log::Memory;

const PATIENCE: Duration = Duration::from_secs(20);

struct Browser(tungstenite::WebSocket<TcpStream>);

impl Browser {
    fn open(addr: SocketAddr, query: &str) -> Self {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Browser(tungstenite::client(format!("ws://{addr}/ws?{query}"), stream).unwrap().0)
    }

    fn say(&mut self, text: &str) {
        self.0.send(Message::text(text)).unwrap();
    }

    /// The next events for which `wanted` gives something.
    fn next<T>(&mut self, wanted: impl Fn(&Value) -> Option<T>) -> T {
        loop {
            let event: Value = serde_json::from_str(self.0.read().unwrap().to_text().unwrap()).unwrap();
            if let Some(found) = wanted(&event) {
                return found;
            }
        }
    }

    fn next_text(&mut self) -> (String, String) {
        self.next(|event| Some(said(event.pointer("/entries/0")?)))
    }
}

fn said(entry: &Value) -> (String, String) {
    (entry["name"].as_str().unwrap().into(), entry["text"].as_str().unwrap().into())
}

/// A response body over a connection of its own.
fn fetch(addr: SocketAddr, request: &str) -> Value {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    serde_json::from_str(response.split_once("\r\n\r\n").unwrap().1).unwrap()
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
}

/// The chat on each server with WebSockets, one after the other.
fn served() -> impl Iterator<Item = (ServerHandle, SocketAddr)> {
    let able = adapter_web::servers().into_iter().filter(|server| server.info().capabilities.websocket);
    able.map(|server| {
        let config = ServerConfig::default().bind("127.0.0.1:0".parse().unwrap());
        let handle = server.start(DynApplication::new(Chat::new(Memory::default())), config).unwrap();
        let addr = handle.local_addrs()[0].tcp().unwrap();
        (handle, addr)
    })
}

#[test]
fn browsers_and_long_polls_share_a_room_on_every_server() {
    for (handle, addr) in served() {
        let mut anna = Browser::open(addr, "room=tea&name=Anna");
        let mut bert = Browser::open(addr, "room=tea&name=Bert%20B");
        let mut other = Browser::open(addr, "room=other&name=Carl");
        anna.say("Is anybody there?");
        let first = ("Anna".to_owned(), "Is anybody there?".to_owned());
        assert_eq!((anna.next_text(), bert.next_text()), (first.clone(), first));
        let online = |event: &Value| {
            event.pointer("/online/names").filter(|names| names.as_array().unwrap().len() == 2).cloned()
        };
        assert_eq!(anna.next(online), serde_json::json!(["Anna", "Bert B"]));

        // a long-poll that waits hears a browser, and a browser hears a POST
        let waiting = std::thread::spawn(move || fetch(addr, &get("/poll?room=tea&since=1")));
        bert.say("I am");
        assert_eq!(said(&waiting.join().unwrap()["entries"][0]), ("Bert B".into(), "I am".into()));
        let post =
            "POST /send?room=tea&name=curl HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\nHello";
        assert_eq!(fetch(addr, post)["number"], 3);
        assert_eq!((anna.next_text().1, anna.next_text().1), ("I am".into(), "Hello".into()));

        // who comes late gets what was said
        let history = fetch(addr, &get("/poll?room=tea&since=0"));
        assert_eq!(history["entries"].as_array().unwrap().len(), 3);
        let mut late = Browser::open(addr, "room=tea&name=Dora&since=1");
        assert_eq!(late.next(|event| Some(event["entries"].as_array()?.len())), 2);

        // the other room heard nothing of it, and the shutdown reaches all
        let stopping = std::thread::spawn(move || handle.stop());
        let mut heard = 0;
        let close = loop {
            match other.0.read().unwrap() {
                Message::Text(text) => {
                    let event: Value = serde_json::from_str(&text).unwrap();
                    heard += event["entries"].as_array().unwrap().len();
                }
                Message::Close(close) => break close.unwrap(),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!((heard, u16::from(close.code)), (0, 1001));
        drop((anna, bert, other, late));
        stopping.join().unwrap().unwrap();
    }
}

#[test]
fn a_client_that_never_reads_is_disconnected_and_nobody_else_notices() {
    for (handle, addr) in served() {
        let deaf = Browser::open(addr, "room=tea&name=deaf");
        let mut anna = Browser::open(addr, "room=tea&name=Anna");
        let online = || fetch(addr, &get("/poll?room=tea&wait=0"))["online"]["names"].clone();
        let both = serde_json::json!(["Anna", "deaf"]);
        anna.next(|event| (*event.pointer("/online/names")? == both).then_some(()));
        // The sockets' buffers take some MiB, the server's one more.
        let text = "x".repeat(4000);
        let mut said = 0;
        while online() != serde_json::json!(["Anna"]) {
            for _ in 0..100 {
                said += 1;
                anna.say(&text);
                let number = anna.next(|event| event.pointer("/entries/0/number").cloned());
                assert_eq!(number, said, "Anna hears everything, in order");
            }
            assert!(said < 10_000, "40 MB are kept for somebody who does not read");
        }
        drop((deaf, anna));
        handle.stop().unwrap();
    }
}

#[test]
fn the_log_of_a_program_started_anew_is_told_in_full() {
    let client = Client::new(Chat::new(Memory::default()));
    assert_eq!(client.post("/send?room=a&name=n", "first").send().status(), 200);
    let told = |since: u32| {
        let answer = client.get(&format!("/poll?room=a&since={since}&wait=0")).send();
        serde_json::from_str::<Value>(&answer.text()).unwrap()["entries"].as_array().unwrap().len()
    };
    // The client has heard 17 messages of the program before.
    assert_eq!((told(0), told(1), told(17)), (1, 0, 1));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let client = Client::new(Chat::new(Memory::default()));
    assert!(client.get("/").send().text().contains("<title>Chat</title>"));
    for target in
        ["/poll?room=a/b", "/poll?room=", "/poll?since=x", "/poll?wait=x", "/poll?name=%ff", "/poll?room=%zz", "/ws"]
    {
        assert_eq!(client.get(target).send().status(), 400, "{target}");
    }
    assert_eq!(client.get("/poll?since=x").send().text(), "since is a number", "the page shows it");
    assert_eq!(client.post("/send?room=a", "no name").send().status(), 400);
    assert_eq!(client.post("/send?room=a&name=n", " ").send().status(), 400);
    assert_eq!(client.post("/send?room=a&name=n", "x".repeat(5000)).send().status(), 413);
    assert_eq!(client.post("/send?room=a&name=n", "x").send().status(), 200);
    assert_eq!(client.get("/poll/x").send().status(), 404);
}
