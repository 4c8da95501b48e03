//! Two processes behind HAProxy, 200 members, and a Redis that is killed in between; then one of the two processes is.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use redis::streams::StreamRangeReply;
use redis_chat::message::Id;
use serde_json::json;

use crate::crowd::{Counts, Crowd, speak};
use crate::programs::{Chat, Haproxy, RedisServer};
use crate::support::{Member, until};

const MEMBERS: usize = 200;
/// Who speak while Redis is killed, each so many messages.
const SPEAKERS: usize = 4;
const EACH: usize = 40;

/// The two processes have different servers.
pub(crate) fn case(one: &str, two: &str) {
    let mut redis = RedisServer::start();
    let (one, two) = (Chat::start(one, &redis.url()), Chat::start(two, &redis.url()));
    let haproxy = Haproxy::start(one.addr, two.addr);
    let mut crowd = Crowd::enter(MEMBERS, haproxy.addr);
    let shares = crowd.shares();
    println!("members: {shares:?}");
    assert_eq!(shares.keys().copied().collect::<Vec<_>>(), ["one", "two"]);

    // One says something, and everybody hears it.
    let (mut anna, _) = Member::enter(haproxy.addr, "name=Anna");
    let id = |id: String| id.parse::<Id>().unwrap();
    let mut said = vec![(id(anna.said("a1", "before")), "before".to_owned())];
    crowd.hears("before", &said);

    // Redis is killed while others speak, and comes back.
    let counts = Arc::new(Counts::default());
    let speakers: Vec<_> = (0..SPEAKERS)
        .map(|speaker| {
            let (addr, counts) = (haproxy.addr, counts.clone());
            let texts: Vec<_> = (0..EACH).map(|number| format!("{speaker}-{number}")).collect();
            thread::spawn(move || speak(addr, &format!("speaker{speaker}"), &texts, &counts))
        })
        .collect();
    let accepted = || counts.accepted.load(Ordering::Acquire);
    until("they speak", || (accepted() >= SPEAKERS * EACH / 4).then_some(()));
    redis.kill();
    assert!(accepted() < SPEAKERS * EACH, "it was killed in between");
    let answer = anna.say("a2", "during");
    assert_eq!(answer["refused"]["again"], json!(true), "{answer}");
    until("the others are refused, too", || (counts.refused.load(Ordering::Acquire) >= SPEAKERS).then_some(()));
    redis.start_again();
    for speaker in speakers {
        said.extend(speaker.join().unwrap());
    }
    said.push((id(anna.until_said("a2", "during")), "during".to_owned()));
    said.push((id(anna.said("a3", "after")), "after".to_owned()));
    said.sort();
    println!("refused: {:?}, unanswered: {:?}", counts.refused, counts.unanswered);
    assert_eq!(kept(&redis), said, "what was accepted is kept, once");
    crowd.hears("after Redis was away", &said);
    assert!(crowd.seen.iter().all(|seen| seen.lost == 0), "members stay while Redis is away");

    // A process is killed: its members come back by themselves, to the other one.
    one.kill();
    crowd.until("all are with the other process", |seen| seen.process.as_deref() == Some("two"));
    let (mut bert, _) = Member::enter(haproxy.addr, "name=Bert");
    said.push((id(bert.said("b1", "end")), "end".to_owned()));
    crowd.hears("after a process was gone", &said);

    crowd.dismiss();
    two.kill();
    crowd.end();
}

/// What Redis has.
fn kept(redis: &RedisServer) -> Vec<(Id, String)> {
    let all: StreamRangeReply =
        redis::cmd("XRANGE").arg(&["chat:messages", "-", "+"]).query(&mut redis.connection()).unwrap();
    all.ids.iter().map(|entry| (entry.id.parse().unwrap(), entry.get("text").unwrap())).collect()
}
