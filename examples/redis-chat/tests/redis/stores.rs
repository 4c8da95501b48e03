//! What the trait says of a store, asked of both.

use std::future::Future;

use redis_chat::message::{Entry, HISTORY, Id, Said};
use redis_chat::store::{Memory, News as _, Redis, Store};

use crate::programs::RedisServer;
use crate::support::PATIENCE;

fn block_on(future: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, future).await.expect("in time") });
}

pub(crate) fn memory() {
    block_on(keeps_its_word(&Memory::default()));
}

pub(crate) fn redis() {
    let server = RedisServer::start();
    block_on(async {
        let open = || Redis::new(Redis::client(&server.url()).unwrap()).unwrap();
        let store = open();
        keeps_its_word(&store).await;

        // Another process has the same history, and hears of what is said here.
        let other = open();
        let (ours, others) = (store.read(Id::default()).await.unwrap(), other.read(Id::default()).await.unwrap());
        assert_eq!(ours, others);
        let mut news = other.listen().await.unwrap();
        let id = store.say(&said("across", "across")).await.unwrap();
        news.next().await.unwrap();
        assert_eq!(other.say(&said("across", "across")).await.unwrap(), id);

        // At once, and not only because it looks now and then.
        let mut listening = server.connection();
        listening.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut listening = listening.as_pubsub();
        listening.subscribe("chat:messages").unwrap();
        let id = store.say(&said("soon", "at once")).await.unwrap();
        assert_eq!(listening.get_message().unwrap().get_payload::<String>().unwrap(), id.to_string());
        drop(listening);
        assert_eq!(other.say(&said("soon", "at once")).await.unwrap(), id);

        // Whose connection is lost is told.
        let mut connection = server.connection();
        let killed: usize = redis::cmd("CLIENT").arg(&["KILL", "TYPE", "pubsub"]).query(&mut connection).unwrap();
        assert_eq!(killed, 1);
        while news.next().await.is_ok() {}
        // A connection that was lost long ago is made anew at once.
        let _: usize = redis::cmd("CLIENT").arg(&["KILL", "TYPE", "normal"]).query(&mut connection).unwrap();
        assert_eq!(other.say(&said("soon", "at once")).await.unwrap(), id);

        // What is somebody else's is not taken for the chat's.
        let mut connection = server.connection();
        let _: String = redis::cmd("XADD").arg(&["chat:messages", "*", "other", "x"]).query(&mut connection).unwrap();
        assert!(store.read(id).await.unwrap_err().to_string().contains("somebody else's"));
    });
}

fn said(key: &str, text: &str) -> Said {
    Said::new(key, "Anna", text).unwrap()
}

async fn keeps_its_word(store: &impl Store) {
    let nothing = store.read(Id::default()).await.unwrap();
    assert!(nothing.entries.is_empty() && nothing.whole);

    // Said once, however often it is said; and heard of.
    let mut news = store.listen().await.unwrap();
    let text = "one \u{1F642} \"'\\ \n -- end";
    let first = store.say(&said("k", text)).await.unwrap();
    news.next().await.unwrap();
    assert_eq!(store.say(&said("k", "something else")).await.unwrap(), first);
    let second = store.say(&said("l", "two")).await.unwrap();
    assert!(second > first);
    let page = store.read(Id::default()).await.unwrap();
    let entry = |id, text: &str| Entry { id, name: "Anna".to_owned(), text: text.to_owned() };
    assert_eq!((page.entries, page.whole), (vec![entry(first, text), entry(second, "two")], true));
    let page = store.read(first).await.unwrap();
    assert_eq!((page.entries, page.whole), (vec![entry(second, "two")], true));
    let page = store.read(second).await.unwrap();
    assert_eq!((page.entries, page.whole), (vec![], true));

    // Old messages go, their keys with them, and who has not seen them is told.
    let mut last = second;
    for number in 2..=HISTORY {
        let id = store.say(&said(&format!("k{number}"), &number.to_string())).await.unwrap();
        assert!(id > last);
        last = id;
    }
    let page = store.read(first).await.unwrap();
    assert_eq!((page.entries.len(), page.entries[0].id, page.whole), (HISTORY, second, false));
    assert!(store.read(second).await.unwrap().whole);
    assert!(store.read(Id::default()).await.unwrap().whole);
    assert_eq!(store.say(&said("l", "two")).await.unwrap(), second, "it is still there");
    assert!(store.say(&said("k", text)).await.unwrap() > last);
    assert!(store.say(&said("l", "two")).await.unwrap() > last, "now it is gone");
    let page = store.read(last).await.unwrap();
    assert_eq!((page.entries.len(), page.whole), (2, true));
}
