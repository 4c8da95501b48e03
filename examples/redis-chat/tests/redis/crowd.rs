//! Many members who stay whatever happens: each comes back by itself, with the id of what it saw last.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use redis_chat::message::Id;
use serde_json::Value;

use crate::support::{Member, PATIENCE, messages};

enum Event {
    /// By which process.
    Entered(String),
    Heard(Id, String),
    Lost,
}

/// What one of them went through.
#[derive(Clone, Default)]
pub(crate) struct Seen {
    /// `None` while it is outside.
    pub(crate) process: Option<String>,
    pub(crate) heard: Vec<(Id, String)>,
    pub(crate) lost: usize,
}

pub(crate) struct Crowd {
    events: Receiver<(usize, Event)>,
    pub(crate) seen: Vec<Seen>,
    ending: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Crowd {
    /// All of them are in.
    pub(crate) fn enter(count: usize, addr: SocketAddr) -> Self {
        let (sender, events) = channel();
        let ending = Arc::new(AtomicBool::new(false));
        let member = |number| {
            let (sender, ending) = (sender.clone(), ending.clone());
            thread::spawn(move || stay(number, addr, &sender, &ending))
        };
        let threads = (0..count).map(member).collect();
        let mut crowd = Crowd { events, seen: vec![Seen::default(); count], ending, threads };
        crowd.until("all are in", |seen| seen.process.is_some());
        crowd
    }

    /// Waits until it is so for each of them.
    pub(crate) fn until(&mut self, what: &str, is_so: impl Fn(&Seen) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !self.seen.iter().all(&is_so) {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok((number, event)) = self.events.recv_timeout(left) else {
                let without = self.seen.iter().filter(|seen| !is_so(seen)).count();
                panic!("{what}: not so for {without} of {}", self.seen.len());
            };
            let seen = &mut self.seen[number];
            match event {
                Event::Entered(process) => seen.process = Some(process),
                Event::Heard(id, text) => seen.heard.push((id, text)),
                Event::Lost => {
                    seen.process = None;
                    seen.lost += 1;
                }
            }
        }
    }

    /// Each of them hears all of `said`, in this order and once, and nothing else.
    pub(crate) fn hears(&mut self, what: &str, said: &[(Id, String)]) {
        self.until(what, |seen| seen.heard.len() >= said.len());
        for (number, seen) in self.seen.iter().enumerate() {
            assert!(seen.heard == said, "{what}: member {number} of {:?} heard {:?}", seen.process, seen.heard);
        }
    }

    /// How many are with which process.
    pub(crate) fn shares(&self) -> BTreeMap<&str, usize> {
        let mut shares = BTreeMap::new();
        for seen in &self.seen {
            *shares.entry(seen.process.as_deref().unwrap_or("none")).or_default() += 1;
        }
        shares
    }

    /// They go when they lose their connections the next time.
    pub(crate) fn dismiss(&self) {
        self.ending.store(true, Ordering::Release);
    }

    pub(crate) fn end(self) {
        for thread in self.threads {
            thread.join().unwrap();
        }
    }
}

fn stay(number: usize, addr: SocketAddr, events: &Sender<(usize, Event)>, ending: &AtomicBool) {
    // The test's end needs nobody to hear it.
    let tell = |event| drop(events.send((number, event)));
    let mut last = String::new();
    while !ending.load(Ordering::Acquire) {
        let since = if last.is_empty() { String::new() } else { format!("&since={last}") };
        let Ok((mut member, welcome)) = Member::try_enter(addr, &format!("name=member{number}{since}")) else {
            thread::sleep(Duration::from_millis(50));
            continue;
        };
        let mut hear = |news: &Value| {
            assert_eq!(news["gap"], false);
            for (id, _, text) in messages(news) {
                tell(Event::Heard(id.parse().unwrap(), text));
                last = id;
            }
        };
        hear(&welcome);
        tell(Event::Entered(member.process.clone()));
        while let Ok(frame) = member.read() {
            hear(&frame["news"]);
        }
        tell(Event::Lost);
    }
}

/// What happened to those who speak.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) accepted: AtomicUsize,
    pub(crate) refused: AtomicUsize,
    pub(crate) unanswered: AtomicUsize,
}

/// Says one after the other, each again and again with its key until it is accepted; with their ids.
pub(crate) fn speak(addr: SocketAddr, name: &str, texts: &[String], counts: &Counts) -> Vec<(Id, String)> {
    let deadline = Instant::now() + PATIENCE;
    let mut member = None;
    let mut said = Vec::new();
    for text in texts {
        let key = format!("key-of-{text}");
        let id = loop {
            assert!(Instant::now() < deadline, "{text} is not accepted");
            if member.is_none() {
                member = Member::try_enter(addr, &format!("name={name}")).ok();
            }
            match member.as_mut().map(|(member, _)| member.try_say(&key, text)) {
                Some(Ok(answer)) => {
                    if let Some(id) = answer["accepted"]["id"].as_str() {
                        break id.parse().unwrap();
                    }
                    assert_eq!(answer["refused"]["again"], true, "{answer}");
                    counts.refused.fetch_add(1, Ordering::AcqRel);
                }
                Some(Err(_)) => {
                    member = None;
                    counts.unanswered.fetch_add(1, Ordering::AcqRel);
                }
                None => {}
            }
            thread::sleep(Duration::from_millis(20));
        };
        counts.accepted.fetch_add(1, Ordering::AcqRel);
        said.push((id, text.clone()));
    }
    said
}
