//! A Redis that is not gone, and does not do what it should.

use std::net::SocketAddr;

use adapter_web::Error;
use redis_chat::application;
use redis_chat::store::Redis;
use rustix::process::Signal;
use serde_json::json;

use crate::programs::RedisServer;
use crate::support::{Member, serve, servers};

/// The chat on each server, with a Redis of its own.
fn each(test: impl Fn(SocketAddr, &RedisServer)) {
    for server in servers() {
        let redis = RedisServer::start();
        let client = Redis::client(&redis.url()).unwrap();
        let open = move || Redis::new(client.clone()).map_err(Error::new);
        let (handle, addr) = serve(server, application(open));
        test(addr, &redis);
        handle.stop().unwrap();
    }
}

/// Nobody publishes a thing, and the connection that would hear it is lost.
pub(crate) fn deaf() {
    each(|addr, redis| {
        let (mut anna, _) = Member::enter(addr, "name=Anna");
        anna.said("a1", "one");
        // The chat listens: nothing but news brings it so far.
        let (mut bert, welcome) = Member::enter(addr, "name=Bert&since=0-0");
        bert.hear_all(&welcome, 1);
        let mut both = redis::pipe();
        both.atomic().cmd("CLIENT").arg(&["KILL", "TYPE", "pubsub"]).ignore();
        both.cmd("XADD").arg(&["chat:messages", "*", "key", "b1", "name", "Bert", "text", "two"]);
        let [second]: [String; 1] = both.query(&mut redis.connection()).unwrap();
        assert_eq!(bert.hear(), (second, "Bert".into(), "two".into()));
    });
}

/// It takes what is said, and does not answer.
pub(crate) fn hanging() {
    each(|addr, redis| {
        let (mut anna, _) = Member::enter(addr, "name=Anna");
        let first = anna.said("a1", "one");
        redis.signal(Signal::STOP);
        let answer = anna.say("a2", "two");
        assert_eq!(answer["refused"]["again"], json!(true), "{answer}");
        redis.signal(Signal::CONT);
        let second = anna.until_said("a2", "two");
        let third = anna.said("a3", "three");
        let (mut bert, welcome) = Member::enter(addr, "name=Bert&since=0-0");
        let wanted = [(first, "one"), (second, "two"), (third, "three")].map(|(id, text)| (id, text.to_owned()));
        assert_eq!(bert.hear_all(&welcome, 3), wanted);
    });
}

/// There is no memory left.
pub(crate) fn full() {
    each(|addr, redis| {
        let limit = |bytes: &str| {
            let set = redis::cmd("CONFIG").arg(&["SET", "maxmemory", bytes]).query(&mut redis.connection());
            let (): () = set.unwrap();
        };
        let (mut anna, _) = Member::enter(addr, "name=Anna");
        let first = anna.said("a1", "one");
        limit("1");
        let answer = anna.say("a2", "two");
        assert_eq!(answer["refused"]["again"], json!(true), "{answer}");
        let (mut bert, welcome) = Member::enter(addr, "name=Bert&since=0-0");
        assert_eq!(bert.hear_all(&welcome, 1), [(first.clone(), "one".to_owned())]);
        limit("0");
        let second = anna.said("a2", "two");
        assert_eq!(bert.hear(), (second, "Anna".into(), "two".into()));
    });
}

/// As one that comes back without its disk.
pub(crate) fn emptied() {
    each(|addr, redis| {
        let (mut anna, _) = Member::enter(addr, "name=Anna");
        anna.said("a1", "one");
        anna.hear();
        let (mut bert, _) = Member::enter(addr, "name=Bert");
        let (): () = redis::cmd("FLUSHALL").query(&mut redis.connection()).unwrap();
        let second = anna.said("a2", "two");
        let news = bert.read().unwrap()["news"].take();
        assert_eq!((&news["gap"], &news["last"]), (&json!(true), &json!(second)));
    });
}
