//! Random lives of a connection, in a world without sockets, threads and clocks: what a client, a network and an application
//! may do in any order, in plain and under (a toy in place of) TLS. Each is made of a seed, which a failure names.
//!
//! `ADAPTER_LIVES=1000000 cargo test -p adapter-http1 --test lives --release` lives longer; `ADAPTER_SEED=…` one life again.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use adapter_core::environ::Serving;
use adapter_core::hints::{EarlyHints, HintError};
use adapter_core::http::HeaderMap;
use adapter_core::server::Roster;
use adapter_core::signal::Signal;
use adapter_core::tls::Tls;
use adapter_core::{
    Body, Bytes, DynApplication, Environ, Error, ListenAddr, Request, RequestBody, Response, Runtime, ServerConfig,
    ServerInfo, ShutdownTrigger,
};
use adapter_http1::connection::{Connection, End, Secured, Settings, Turn, Turned};

mod chosen;
mod client;
#[path = "../../../adapter-core/tests/toy_tls/mod.rs"]
mod toy_tls;
mod world;

use client::{requests, responses};
use toy_tls::{Heard, ToyAcceptor};
use world::{Dice, Socket, Still, Wire};

/// What a proxy says in front of everything.
const HEADER: &[u8] = b"PROXY TCP4 203.0.113.9 192.0.2.1 4711 443\r\n";

thread_local! {
    /// Whether the connection's turn has a permit.
    static PERMIT: Cell<bool> = const { Cell::new(true) };
    /// Something of the application's has run, or was dropped, without.
    static TRESPASSED: Cell<bool> = const { Cell::new(false) };
    /// What `/keep` has kept.
    static KEPT: RefCell<Option<(RequestBody, EarlyHints)>> = const { RefCell::new(None) };
}

/// What is the application's runs.
fn trespass() {
    if !PERMIT.get() {
        TRESPASSED.set(true);
    }
}

/// Counts what the application has.
struct Alive(Arc<AtomicUsize>);

impl Alive {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        trespass();
        count.fetch_add(1, SeqCst);
        Alive(count.clone())
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        trespass();
        self.0.fetch_sub(1, SeqCst);
    }
}

const DRIP: usize = 70_000;

/// Answers in the way that the path names, and says the path.
async fn answer(request: Request, environ: Environ, gate: Signal, alive: Arc<AtomicUsize>) -> Result<Response, Error> {
    let handler = Alive::new(&alive);
    let path = request.uri().path().to_owned();
    let mut body = request.into_body();
    let said = match path.split('/').nth(1).unwrap_or_default() {
        "read" => {
            let mut count = 0;
            while let Some(chunk) = body.chunk().await {
                count += chunk?.len();
            }
            format!("{path} {count}")
        }
        "echo" => return Ok(Response::new(Body::from(body))),
        "late" => {
            gate.fired().await;
            path
        }
        // Waits in the middle.
        "drip" => {
            let parts = [path, " ".into(), "x".repeat(DRIP)];
            let stream = futures_lite::stream::unfold((0, handler), move |(index, alive)| {
                let (part, gate) = (parts.get(index).cloned(), gate.clone());
                async move {
                    trespass();
                    if index == 2 {
                        gate.fired().await;
                    }
                    part.map(|part| (Ok::<_, Error>(Bytes::from(part)), (index + 1, alive)))
                }
            });
            return Ok(Response::new(Body::from_stream(Box::pin(stream))));
        }
        // Has always more, in pieces of which a turn gathers less than is written by itself.
        "endless" => {
            let piece = Ok::<_, Error>(Bytes::from(vec![b'x'; 1000]));
            let stream = futures_lite::stream::repeat_with(move || {
                let _ = &handler;
                trespass();
                piece.as_ref().map(Bytes::clone).map_err(|_| Error::from("never"))
            });
            return Ok(Response::new(Body::from_stream(stream)));
        }
        "keep" => {
            let hints = environ.early_hints().expect("there are hints").clone();
            assert_eq!(hints.send(&HeaderMap::new()), Ok(()));
            KEPT.set(Some((body, hints)));
            let (first, rest) = path.split_at(1);
            let pieces = [first.to_owned(), rest.to_owned()].map(Ok::<_, Error>);
            match rest {
                "keep/whole" => path,
                _ => return Ok(Response::new(Body::from_stream(futures_lite::stream::iter(pieces)))),
            }
        }
        "kept" => {
            let (mut kept, hints) = KEPT.take().expect("something was kept");
            assert_eq!(hints.send(&HeaderMap::new()), Err(HintError::TooLate));
            format!("{:?}, {}", kept.chunk().await, body.text(99).await?)
        }
        "fail" => return Err(Error::from("a failure that was asked for")),
        _ => path,
    };
    Ok(Response::new(Body::from(said)))
}

struct Bell(AtomicBool);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.store(true, SeqCst);
    }
}

struct Life {
    wire: Arc<Mutex<Wire>>,
    clock: Arc<Mutex<Instant>>,
    bell: Arc<Bell>,
    gate: Signal,
    trigger: ShutdownTrigger,
    roster: Arc<Roster>,
    alive: Arc<AtomicUsize>,
    /// Where turns need a permit: when it is given, and what was told of the transport.
    ration: Option<Dice>,
    told: bool,
    tls: bool,
    /// `None` once it has ended.
    connection: Option<Connection<Secured<Socket>>>,
}

impl Life {
    fn begin(start: Instant, tls: bool, proxied: bool) -> Self {
        let (gate, alive) = (Signal::new(), Arc::<AtomicUsize>::default());
        let app = {
            let (gate, alive) = (gate.clone(), alive.clone());
            move |request: Request, environ: Environ| {
                let is_told = environ.peer_addr().is_some_and(|peer| peer.port() == if proxied { 4711 } else { 9 });
                assert!(is_told, "who the client is");
                let mut answer = Box::pin(answer(request, environ, gate.clone(), alive.clone()));
                poll_fn(move |cx| {
                    trespass();
                    answer.as_mut().poll(cx)
                })
            }
        };
        let mut config = ServerConfig::default();
        config.timeouts.handler = Some(Duration::from_secs(20));
        let proxy = SocketAddr::from(([127, 0, 0, 1], 9));
        config.proxy_protocol_from = vec![proxy.ip().into()];
        let (clock, trigger) = (Arc::new(Mutex::new(start)), ShutdownTrigger::new());
        let runtime = Runtime::new(Still(clock.clone()));
        let serving = Serving::new(ServerInfo::new("lives", "1"), runtime, trigger.clone(), &config);
        let roster = Arc::<Roster>::default();
        let settings = Arc::new(Settings::new(DynApplication::new(app), serving, &config, roster.clone()));
        let wire = Arc::<Mutex<Wire>>::default();
        let local = ListenAddr::Tcp("127.0.0.1:80".parse().unwrap());
        let over = tls.then(|| Tls::new(ToyAcceptor));
        let transport = settings.secure(Socket(wire.clone()), over.as_ref());
        let mut connection = Connection::new(settings, transport, Some(proxy), local, start);
        let mut first = Vec::new();
        if proxied {
            connection = connection.behind_proxy();
            let (begin, end) = HEADER.split_at(20);
            wire.lock().unwrap().incoming.push_back(begin.to_vec());
            first = end.to_vec();
        }
        if tls {
            // Nobody waits for the server's hello, so that it is late in some lives.
            first.extend(toy_tls::hello("http/1.1"));
            wire.lock().unwrap().incoming.extend([first, toy_tls::finished()]);
        } else if proxied {
            wire.lock().unwrap().incoming.push_back(first);
        }
        let connection = Some(connection);
        Life {
            wire,
            clock,
            bell: Arc::new(Bell(AtomicBool::new(true))),
            gate,
            trigger,
            roster,
            alive,
            ration: None,
            told: true,
            tls,
            connection,
        }
    }

    /// The client says it.
    fn say(&mut self, octets: &[u8]) {
        let octets = if self.tls { toy_tls::seal(octets) } else { octets.to_vec() };
        self.change(|wire| wire.incoming.push_back(octets));
    }

    /// What the client has heard.
    fn heard(&self) -> Vec<u8> {
        let wire = self.wire.lock().unwrap();
        if self.tls { Heard::of(&wire.out).plaintext } else { wire.out.clone() }
    }

    fn now(&self) -> Instant {
        *self.clock.lock().unwrap()
    }

    /// Polls while it wants to be polled.
    fn run(&mut self) {
        let waker = Waker::from(self.bell.clone());
        let mut permit = self.ration.is_none();
        for _ in 0..10_000 {
            let now = self.now();
            let Some(connection) = &mut self.connection else { return };
            let due = connection.deadline().is_some_and(|deadline| deadline <= now);
            let woken = self.bell.0.swap(false, SeqCst);
            let told = std::mem::replace(&mut self.told, false);
            let wanted = permit && self.ration.is_some();
            if !woken && !told && !due && !wanted {
                return;
            }
            PERMIT.set(permit);
            let turned = connection.turn(&mut Context::from_waker(&waker), now, Turn { permit, woken });
            PERMIT.set(true);
            assert!(!TRESPASSED.get(), "application code without a permit");
            permit = self.ration.is_none();
            match turned {
                Turned::Ended(End::Closed) => self.connection = None,
                Turned::Ended(End::Http2 { .. }) => panic!("nobody speaks HTTP/2"),
                Turned::Again => self.told = true,
                Turned::NeedsPermit { .. } => {
                    assert!(!permit, "there was one");
                    // Some wait for it, and are run again meanwhile.
                    permit = self.ration.as_mut().is_some_and(|dice| !dice.one_in(3));
                    self.told = true;
                }
                Turned::Parked => {
                    let late = connection.deadline().is_some_and(|deadline| deadline <= now);
                    assert!(!late || self.bell.0.load(SeqCst), "it waits for what has passed");
                }
            }
        }
        panic!("it turns for ever");
    }

    fn change(&mut self, change: impl FnOnce(&mut Wire)) {
        let wakers = {
            let mut wire = self.wire.lock().unwrap();
            change(&mut wire);
            std::mem::take(&mut wire.wakers)
        };
        // As a server does that reports to a connection without its waker.
        let own = Waker::from(self.bell.clone());
        for waker in wakers {
            if self.ration.is_some() && waker.will_wake(&own) {
                self.told = true;
            } else {
                waker.wake();
            }
        }
    }

    fn passes(&mut self, time: Duration) {
        *self.clock.lock().unwrap() += time;
    }
}

/// One life. A *good* one has a client that sends all and takes all, in time.
fn live(seed: u64, start: Instant, tls: bool, proxied: bool) {
    let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let good = dice.one_in(2);
    let (asked, octets) = requests(&mut dice);
    let mut life = Life::begin(start, tls, proxied);
    life.ration = dice.one_in(2).then_some(Dice(seed | 1));
    let mut rest = &octets[..];
    for _ in 0..10 + dice.below(150) {
        match dice.below(if good { 7 } else { 12 }) {
            0..=2 if !rest.is_empty() => {
                let most = [1, 40, 3000, 90_000][dice.below(4)];
                let (piece, behind) = rest.split_at((1 + dice.below(most)).min(rest.len()));
                life.say(piece);
                rest = behind;
            }
            0..=2 => {}
            3 | 4 => {
                let room = [1, 100, 5000, 200_000][dice.below(4)];
                life.change(|wire| wire.room += room);
            }
            5 if dice.one_in(8) => _ = life.gate.fire(),
            5 | 6 => life.passes(Duration::from_millis(dice.below(20) as u64)),
            7 => {
                let deadline = life.connection.as_ref().and_then(Connection::deadline);
                let until = deadline.map(|deadline| deadline.saturating_duration_since(life.now()));
                life.passes(until.unwrap_or(Duration::from_secs(1)));
            }
            8 if dice.one_in(10) => life.change(|wire| wire.reset = true),
            9 if dice.one_in(6) => life.change(|wire| wire.ended = true),
            9 if tls && dice.one_in(20) => life.change(|wire| wire.incoming.push_back(toy_tls::close_notify())),
            9 if tls && dice.one_in(3) => life.change(|wire| wire.incoming.push_back(toy_tls::record(0x18, b""))),
            9 if tls && dice.one_in(20) => life.change(|wire| wire.incoming.push_back(vec![7; 3])),
            10 if dice.one_in(10) => life.trigger.drain(),
            11 if dice.one_in(40) => life.trigger.force(),
            _ => {}
        }
        // The shutdown wakes every connection.
        if life.trigger.draining().is_fired() {
            life.told = true;
        }
        if dice.one_in(2) {
            life.run();
        }
    }
    if good && !rest.is_empty() {
        life.say(rest);
    }
    // It ends also where the application or the client does nothing any more.
    if good || dice.one_in(2) {
        life.gate.fire();
    }
    if good || dice.one_in(2) {
        life.change(|wire| wire.room = usize::MAX / 2);
    }
    life.run();
    if good {
        assert!(life.connection.is_some(), "a good client is not left");
        let found = responses(&life.heard());
        assert_eq!(found.len(), asked.len(), "answers");
        for (said, asked) in found.iter().zip(&asked) {
            let right = said.whole && said.status == asked.status && said.body == asked.said;
            assert!(right, "the answer to {} is {} of {} octets", asked.path, said.status, said.body.len());
        }
    }
    if tls && dice.one_in(2) {
        life.change(|wire| wire.incoming.push_back(toy_tls::close_notify()));
    }
    life.change(|wire| wire.ended = true);
    let gone = life.now();
    while life.now() - gone < Duration::from_secs(300) {
        life.run();
        let Some(connection) = &life.connection else { break };
        let deadline = connection.deadline().expect("who waits for a client that has gone waits for the clock");
        let time = deadline.saturating_duration_since(life.now());
        life.passes(time);
        // The end of the stream can't be seen behind octets that nobody reads; a reset can.
        if life.now() - gone > Duration::from_secs(100) {
            life.change(|wire| wire.reset = true);
        }
    }
    assert!(life.connection.is_none(), "it ends");
    assert!(life.wire.lock().unwrap().closed, "and closes");
    assert_eq!(life.alive.load(SeqCst), 0, "what the application had is dropped");
    // What came is the beginning of what was asked for, in order; the server's own refusals end it.
    let is_closed = tls && Heard::of(&life.wire.lock().unwrap().out).is_closed();
    for (index, said) in responses(&life.heard()).into_iter().enumerate() {
        assert!(said.whole || !is_closed, "what is not whole does not end with close_notify");
        match asked.get(index) {
            _ if [0, 400, 408, 503].contains(&said.status) => {}
            Some(asked) if asked.status == said.status => {
                let right = asked.said.starts_with(&said.body) && (!said.whole || asked.said == said.body);
                assert!(right, "what was said to {}", asked.path);
            }
            _ => panic!("answer {index} is {}", said.status),
        }
    }
}

/// \[LIM-06\], \[DIS-03\] whatever an operating system tells of it, in every phase in which something is to be sent.
#[test]
fn who_takes_a_little_is_not_given_up() {
    let requests =
        ["GET /drip/1", "GET /drip/1 HTTP/1.1\r\nHost: a\r\n\r\nGET /late/2", "GET /hello/1 HTTP/1.0\r\n\r\nx"];
    for (request, tls) in requests.into_iter().flat_map(|request| [(request, false), (request, true)]) {
        let mut life = Life::begin(Instant::now(), tls, false);
        life.gate.fire();
        if tls {
            // The whole handshake, and nothing more.
            life.change(|wire| wire.room = [toy_tls::hello("http/1.1").len(), "...ticket".len()].iter().sum());
            life.run();
        }
        life.say(format!("{request} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        life.run();
        for _ in 0..10 {
            life.change(|wire| {
                wire.room += 10;
                wire.untold = true;
            });
            let deadline =
                life.connection.as_ref().expect("it is served").deadline().expect("there is a write timeout");
            let time = deadline.saturating_duration_since(life.now());
            life.passes(time);
            let before = life.wire.lock().unwrap().out.len();
            life.run();
            assert_eq!(life.wire.lock().unwrap().out.len(), before + 10, "it is tried ({request})");
        }
        let deadline = life.connection.as_ref().expect("it is served").deadline().expect("there is a write timeout");
        let time = deadline.saturating_duration_since(life.now());
        life.passes(time);
        life.run();
        assert!(life.connection.is_none(), "who takes nothing is ({request})");
    }
}

fn lives_end_well(tls: bool, proxied: bool) {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let start = Instant::now();
    if let Some(seed) = number("ADAPTER_SEED") {
        return live(seed, start, tls, proxied);
    }
    for seed in 1..=number("ADAPTER_LIVES").unwrap_or(3000) {
        if let Err(panic) = std::panic::catch_unwind(|| live(seed, start, tls, proxied)) {
            eprintln!("the life of ADAPTER_SEED={seed} went wrong");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn lives_in_plain_end_well() {
    lives_end_well(false, false);
}

#[test]
fn lives_under_tls_end_well() {
    lives_end_well(true, false);
}

#[test]
fn lives_behind_a_proxy_end_well() {
    lives_end_well(false, true);
    lives_end_well(true, true);
}
