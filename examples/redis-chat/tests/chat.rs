//! The chat on every server, over a store in memory, and over one that fails when it is told to.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use futures_util::FutureExt as _;
use redis_chat::application;
use redis_chat::message::{HISTORY, Id, Said};
use redis_chat::store::{Memory, News, Page, Store, Unavailable};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::support::{Member, PATIENCE, messages, serve, servers};

/// The chat in memory on each server.
fn each(test: impl Fn(SocketAddr)) {
    for server in servers() {
        let (handle, addr) = serve(server, application(|| Ok(Memory::default())));
        test(addr);
        handle.stop().unwrap();
    }
}

/// Status and text of the answer to a request.
fn ask(addr: SocketAddr, target: &str, fields: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {target} HTTP/1.1\r\nHost: chat\r\n{fields}Connection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
}

#[test]
fn everybody_hears_what_was_accepted_in_one_order() {
    each(|addr| {
        let (mut anna, welcome) = Member::enter(addr, "name=Anna");
        assert_eq!(welcome, json!({"messages": [], "last": "0-0", "gap": false}));
        let (mut bert, _) = Member::enter(addr, "name=Bert+B");
        let first = anna.said("a1", "Is anybody there? ");
        let second = bert.said("b1", "I am\nhere 🙂");
        assert!(first.parse::<Id>().unwrap() < second.parse::<Id>().unwrap());
        // The last of it may be on its way.
        let (mut late, welcome) = Member::enter(addr, "name=Dora");
        let both = [(first.clone(), "Is anybody there?".to_owned()), (second.clone(), "I am\nhere 🙂".to_owned())];
        assert_eq!(late.hear_all(&welcome, 2), both);
        // Each of them hears it once, whoever said it.
        let third = anna.said("a2", "Good");
        assert_eq!(late.hear(), (third.clone(), "Anna".into(), "Good".into()));
        let (mut again, welcome) = Member::enter(addr, &format!("name=Bert&since={first}"));
        assert_eq!(again.hear_all(&welcome, 2), [(second, "I am\nhere 🙂".to_owned()), (third, "Good".to_owned())]);
        let fourth = late.said("d1", "Bye");
        assert_eq!(again.hear(), (fourth, "Dora".into(), "Bye".into()));
    });
}

#[test]
fn all_of_it_is_heard_by_who_stays() {
    each(|addr| {
        let (mut anna, _) = Member::enter(addr, "name=Anna");
        let (mut bert, _) = Member::enter(addr, "name=Bert");
        let said: Vec<_> = (0..50).map(|n| (anna.said(&format!("k{n}"), &format!("t{n}")), format!("t{n}"))).collect();
        let heard: Vec<_> = (0..50).map(|_| bert.hear()).map(|(id, _, text)| (id, text)).collect();
        assert_eq!(heard, said);
    });
}

#[test]
fn what_is_said_again_is_said_once() {
    each(|addr| {
        let (mut anna, _) = Member::enter(addr, "name=Anna");
        let (mut bert, _) = Member::enter(addr, "name=Bert");
        let id = anna.said("a1", "tea");
        // She heard no answer, and came back by another connection.
        let (mut again, _) = Member::enter(addr, "name=Anna");
        assert_eq!((anna.said("a1", "tea"), again.said("a1", "tea")), (id.clone(), id.clone()));
        let next = again.said("a2", "tea");
        assert_eq!([bert.hear().0, bert.hear().0], [id, next]);
    });
}

#[test]
fn a_client_ahead_of_this_process_hears_nothing_twice() {
    each(|addr| {
        let (mut anna, _) = Member::enter(addr, "name=Anna");
        let id: Id = anna.said("a1", "one").parse().unwrap();
        // Another process has told it of this one already.
        let ahead = Id { milliseconds: id.milliseconds + 3_600_000, number: 0 };
        let (mut bert, welcome) = Member::enter(addr, &format!("name=Bert&since={ahead}"));
        assert_eq!((messages(&welcome).len(), &welcome["last"]), (0, &json!(ahead.to_string())));
        anna.said("a2", "two");
        // Who was told before Anna's second message would have been told of it, too.
        while anna.hear().2 != "two" {}
        bert.send("").unwrap();
        assert!(bert.read().unwrap().get("refused").is_some());
    });
}

#[test]
fn who_was_away_for_too_long_is_told_so() {
    each(|addr| {
        let (mut anna, _) = Member::enter(addr, "name=Anna");
        let first = anna.said("first", "first");
        for n in 0..HISTORY {
            anna.said(&format!("k{n}"), &format!("t{n}"));
        }
        while anna.hear().2 != format!("t{}", HISTORY - 1) {}
        let (_, welcome) = Member::enter(addr, &format!("name=Bert&since={first}"));
        assert_eq!((messages(&welcome).len(), &welcome["gap"]), (HISTORY, &json!(true)));
        let second = welcome["messages"][0]["id"].as_str().unwrap();
        let (_, welcome) = Member::enter(addr, &format!("name=Bert&since={second}"));
        assert_eq!((messages(&welcome).len(), &welcome["gap"]), (HISTORY - 1, &json!(false)));
        // Who comes for the first time does not get all of it.
        let (_, welcome) = Member::enter(addr, "name=Carl");
        assert_eq!((messages(&welcome).len(), &welcome["gap"]), (50, &json!(false)));
        // Its key went with it.
        assert_ne!(anna.said("first", "again"), first);
    });
}

#[test]
fn what_makes_no_sense_is_refused_for_good() {
    each(|addr| {
        let (mut anna, _) = Member::enter(addr, "name=Anna");
        let long = "x".repeat(2001);
        for (key, text) in
            [("", "x"), ("a b", "x"), (&"k".repeat(65), "x"), ("k", " \n"), ("k", &long), ("k", "\u{1b}[2J")]
        {
            let answer = anna.say(key, text);
            assert_eq!(answer["refused"]["again"], json!(false), "{answer}");
        }
        for frame in ["", "x", "[]", r#"{"key": "k"}"#, r#"{"key": 1, "text": "x"}"#] {
            anna.send(frame).unwrap();
            assert_eq!(anna.read().unwrap()["refused"]["again"], json!(false), "{frame}");
        }
        // The longest that is allowed, as large as JSON makes it.
        anna.said("k", &"\"".repeat(2000));

        let upgrade = "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        for query in
            ["", "?name=", "?name=%00", "?name=x&since=1", "?name=x&since=-", "?name=x&since=1-99999999999999999999"]
        {
            assert_eq!(ask(addr, &format!("/ws{query}"), upgrade).0, 400, "{query}");
        }
        assert_eq!(ask(addr, "/ws?name=x", &format!("{upgrade}Origin: http://elsewhere\r\n")).0, 403);
        assert_eq!(ask(addr, "/ws?name=x", "").0, 400);
        assert_eq!(ask(addr, "/elsewhere", "").0, 404);
        let (status, page) = ask(addr, "/", "");
        assert!(status == 200 && page.contains("<title>Chat</title>"), "{page}");
    });
}

#[test]
fn who_does_not_read_is_disconnected_and_nobody_else_notices() {
    each(|addr| {
        let (mut deaf, _) = Member::enter(addr, "name=deaf");
        let (mut anna, _) = Member::enter(addr, "name=Anna");
        // In JSON 4 KB each, 16 MB in all: sockets take some MiB of it, the server one.
        let text = "\"".repeat(1990);
        for number in 0..4000 {
            anna.said(&format!("k{number}"), &format!("{number} {text}"));
            if number % 20 == 0 {
                while !anna.hear().2.starts_with(&format!("{number} ")) {}
            }
        }
        let heard = std::iter::from_fn(|| deaf.read().ok()).count();
        assert!((1..4000).contains(&heard), "{heard}");
    });
}

/// One that is away when it is told to be.
#[derive(Clone)]
struct Faulty {
    kept: Arc<Memory>,
    away: watch::Sender<bool>,
}

struct FaultyNews {
    news: watch::Receiver<Id>,
    away: watch::Receiver<bool>,
}

impl Faulty {
    fn check(&self) -> Result<(), Unavailable> {
        if *self.away.borrow() { Err(Unavailable("away".into())) } else { Ok(()) }
    }
}

impl Store for Faulty {
    type News = FaultyNews;

    async fn say(&self, said: &Said) -> Result<Id, Unavailable> {
        self.check()?;
        let before = self.kept.read(Id::default()).await?.entries.len();
        let id = self.kept.say(said).await?;
        let is_new = self.kept.read(Id::default()).await?.entries.len() > before;
        // It is kept, and then the store is away before it answers.
        if said.text() == "unheard" && is_new {
            self.away.send_replace(true);
        }
        self.check()?;
        Ok(id)
    }

    async fn read(&self, after: Id) -> Result<Page, Unavailable> {
        self.check()?;
        self.kept.read(after).await
    }

    async fn listen(&self) -> Result<FaultyNews, Unavailable> {
        self.check()?;
        Ok(FaultyNews { news: self.kept.listen().await?, away: self.away.subscribe() })
    }
}

impl News for FaultyNews {
    async fn next(&mut self) -> Result<(), Unavailable> {
        tokio::select! {
            _ = self.away.wait_for(|away| *away) => Err(Unavailable("away".into())),
            news = self.news.next() => news,
        }
    }
}

#[test]
fn while_the_store_is_away_nobody_is_disconnected_and_nothing_accepted_is_lost() {
    for server in servers() {
        let store = Faulty { kept: Arc::default(), away: watch::Sender::new(true) };
        // It need not be there at the start.
        let (handle, addr) = serve(
            server,
            application({
                let store = store.clone();
                move || Ok(store.clone())
            }),
        );
        let (mut anna, _) = Member::enter(addr, "name=Anna");
        let (mut bert, _) = Member::enter(addr, "name=Bert");
        let refused = |answer: &Value| assert_eq!(answer["refused"]["again"], json!(true), "{answer}");
        refused(&anna.say("a1", "one"));
        store.away.send_replace(false);
        let first = anna.said("a1", "one");
        assert_eq!(bert.hear(), (first, "Anna".into(), "one".into()));

        // Only the answer is lost.
        refused(&anna.say("a2", "unheard"));
        refused(&anna.say("a2", "unheard"));
        store.away.send_replace(false);
        let second = anna.said("a2", "unheard");
        let third = anna.said("a3", "three");
        assert_eq!(
            [bert.hear(), bert.hear()].map(|(id, _, text)| (id, text)),
            [(second, "unheard".to_owned()), (third, "three".to_owned())]
        );
        handle.stop().unwrap();
    }
}

#[test]
fn who_comes_before_the_history_is_there_is_told_of_what_is_gone() {
    for server in servers() {
        let store = Faulty { kept: Arc::default(), away: watch::Sender::new(true) };
        for number in 0..=HISTORY {
            let said = Said::new(&format!("k{number}"), "Bert", &number.to_string()).unwrap();
            store.kept.say(&said).now_or_never().unwrap().unwrap();
        }
        let open = store.clone();
        let (handle, addr) = serve(server, application(move || Ok(open.clone())));
        let (mut anna, welcome) = Member::enter(addr, "name=Anna&since=1-0");
        assert_eq!((messages(&welcome).len(), &welcome["gap"]), (0, &json!(false)));
        let (mut new, _) = Member::enter(addr, "name=new");
        store.away.send_replace(false);
        for (member, gap) in [(&mut anna, true), (&mut new, false)] {
            let news = member.read().unwrap()["news"].take();
            assert_eq!((messages(&news).len(), &news["gap"]), (HISTORY, &json!(gap)));
        }
        handle.stop().unwrap();
    }
}

/// Another process says something at the last moment before this one listens.
struct Late(Memory);

impl Store for Late {
    type News = watch::Receiver<Id>;

    async fn say(&self, said: &Said) -> Result<Id, Unavailable> {
        self.0.say(said).await
    }

    async fn read(&self, after: Id) -> Result<Page, Unavailable> {
        self.0.read(after).await
    }

    async fn listen(&self) -> Result<Self::News, Unavailable> {
        self.0.say(&Said::new("late", "Bert", "late").unwrap()).await?;
        self.0.listen().await
    }
}

#[test]
fn what_is_said_just_before_it_listens_is_heard() {
    for server in servers() {
        let (handle, addr) = serve(server, application(|| Ok(Late(Memory::default()))));
        let (mut anna, welcome) = Member::enter(addr, "name=Anna&since=0-0");
        assert_eq!(anna.hear_all(&welcome, 1)[0].1, "late");
        handle.stop().unwrap();
    }
}
