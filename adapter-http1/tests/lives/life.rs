//! A connection in the world of its script, which drives it as a server does.

use std::cell::Cell;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use adapter_core::environ::Serving;
use adapter_core::server::Roster;
use adapter_core::signal::Signal;
use adapter_core::tls::Tls;
use adapter_core::{ListenAddr, Runtime, ServerConfig, ServerInfo, ShutdownTrigger};
use adapter_http1::connection::{Connection, End, Secured, Settings, Turn, Turned};

use super::application::{Call, PERMIT, Record, TRESPASSED, application};
use super::client::Answers;
use super::plain::{self, Asked};
use super::script::{ALL, Event, Script, Setup};
use super::toy_tls::{self, Heard, ToyAcceptor};
use super::watch::{Seen, Watch};
use super::world::{Dice, Socket, Still, Wire};

/// What a proxy says in front of everything.
const HEADER: &[u8] = b"PROXY TCP4 203.0.113.9 192.0.2.1 4711 443\r\n";

/// What a connection may hold, the application's part of it included, and what the thread keeps for the next one: input up to a head and
/// a body's piece, and both buffers as they grow; what is gathered of output and the piece behind it, as they are joined; `/drip`'s pieces.
pub(crate) const MOST_HELD: i64 = 2 * (64 + 64 + 64 + 70) * 1024;

thread_local! {
    /// Octets that connections of this thread hold.
    static HELD: Cell<i64> = const { Cell::new(0) };
    /// The most that was held.
    pub(crate) static MOST: Cell<i64> = const { Cell::new(0) };
}

/// Octets that this thread's connections hold.
pub(crate) fn held() -> i64 {
    HELD.get()
}

/// Counts what `run` holds, and lets go of.
fn counted<R>(run: impl FnOnce() -> R) -> R {
    let mut result = None;
    let info = allocation_counter::measure(|| result = Some(catch_unwind(AssertUnwindSafe(run))));
    let most = HELD.get() + i64::try_from(info.bytes_max).unwrap_or(i64::MAX);
    MOST.set(MOST.get().max(most));
    HELD.set(HELD.get() + info.bytes_current);
    result.expect("it ran").unwrap_or_else(|panic| resume_unwind(panic))
}

struct Bell(AtomicBool);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.store(true, SeqCst);
    }
}

pub(crate) struct Life {
    pub(crate) wire: Arc<Mutex<Wire>>,
    clock: Arc<Mutex<Instant>>,
    bell: Arc<Bell>,
    pub(crate) gate: Signal,
    pub(crate) trigger: ShutdownTrigger,
    pub(crate) roster: Arc<Roster>,
    pub(crate) alive: Arc<AtomicUsize>,
    calls: Arc<Mutex<Vec<Call>>>,
    /// Where turns need a permit: when it is given, and what was told of the transport.
    pub(crate) ration: Option<Dice>,
    pub(crate) told: bool,
    tls: bool,
    /// `None` once it has ended.
    pub(crate) connection: Option<Connection<Secured<Socket>>>,
    watch: Option<Watch>,
    /// Octets that the client has said, in plaintext.
    said: usize,
    reset: Option<Instant>,
    forced: bool,
}

impl Life {
    pub(crate) fn begin(setup: &Setup, start: Instant) -> Self {
        let Setup { tls, proxied, .. } = *setup;
        let record = Record {
            clock: Arc::new(Mutex::new(start)),
            trigger: ShutdownTrigger::new(),
            gate: Signal::new(),
            alive: Arc::default(),
            calls: Arc::new(Mutex::new(Vec::with_capacity(16))),
        };
        let app = application(record.clone(), if proxied { 4711 } else { 9 });
        let mut config = ServerConfig::default();
        let limit = |ms| Some(Duration::from_millis(ms));
        config.timeouts.header_read = limit(setup.times.head);
        config.timeouts.keep_alive = limit(setup.times.idle);
        config.timeouts.body_read = limit(setup.times.body);
        config.timeouts.write = limit(setup.times.write);
        config.timeouts.handler = setup.times.handler.and_then(limit);
        config.keep_alive = !setup.no_keep_alive;
        config.limits.requests_per_connection = setup.requests;
        let proxy = SocketAddr::from(([127, 0, 0, 1], 9));
        config.proxy_protocol_from = vec![proxy.ip().into()];
        let Record { clock, trigger, gate, alive, calls } = record;
        let runtime = Runtime::new(Still(clock.clone()));
        let serving = Serving::new(ServerInfo::new("lives", "1"), runtime, trigger.clone(), &config);
        let roster = Arc::<Roster>::default();
        let settings = Arc::new(Settings::new(app, serving, &config, roster.clone()));
        let wire = Arc::<Mutex<Wire>>::default();
        let local = ListenAddr::Tcp("127.0.0.1:80".parse().unwrap());
        let over = tls.then(|| Tls::new(ToyAcceptor));
        let mut connection = counted(|| {
            let transport = settings.secure(Socket(wire.clone()), over.as_ref());
            Connection::new(settings, transport, Some(proxy), local, start)
        });
        let mut first = Vec::new();
        if proxied {
            connection = counted(|| connection.behind_proxy());
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
            calls,
            ration: setup.ration.map(|seed| Dice(seed | 1)),
            told: true,
            tls,
            connection,
            watch: None,
            said: 0,
            reset: None,
            forced: false,
        }
    }

    /// The client says it.
    pub(crate) fn say(&mut self, octets: &[u8]) {
        let octets = if self.tls { toy_tls::seal(octets) } else { octets.to_vec() };
        self.change(|wire| wire.incoming.push_back(octets));
    }

    /// What the client has heard.
    pub(crate) fn heard(&self) -> Vec<u8> {
        let wire = self.wire.lock().unwrap();
        if self.tls { Heard::of(&wire.out).plaintext } else { wire.out.clone() }
    }

    pub(crate) fn now(&self) -> Instant {
        *self.clock.lock().unwrap()
    }

    /// Polls while it wants to be polled.
    pub(crate) fn run(&mut self) {
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
            let turn = Turn { permit, woken };
            let turned = counted(|| connection.turn(&mut Context::from_waker(&waker), now, turn));
            PERMIT.set(true);
            assert!(!TRESPASSED.get(), "application code without a permit");
            permit = self.ration.is_none();
            match turned {
                Turned::Ended(End::Closed) => {
                    let connection = self.connection.take();
                    counted(|| drop(connection));
                }
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

    pub(crate) fn change(&mut self, change: impl FnOnce(&mut Wire)) {
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

    pub(crate) fn passes(&mut self, time: Duration) {
        *self.clock.lock().unwrap() += time;
    }

    /// When it has to be looked after, as it says.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.connection.as_ref().and_then(Connection::deadline)
    }

    /// It is looked after; where that was at once, all has to be as it should.
    fn turn(&mut self) {
        // The shutdown wakes every connection.
        self.told |= self.trigger.draining().is_fired();
        self.run();
        let Some(watch) = &mut self.watch else { return };
        let wire = self.wire.lock().unwrap();
        watch.rest(&Seen {
            now: *self.clock.lock().unwrap(),
            said: self.said,
            gate: self.gate.is_fired(),
            ended: wire.ended,
            reset: self.reset,
            stopping: self.trigger.draining().is_fired(),
            forced: self.forced,
            blocked: wire.blocked,
            out: &wire.out,
            shut: wire.shut,
            closed: wire.closed.then_some(wire.by_reset),
            calls: &self.calls.lock().unwrap(),
        });
    }

    /// Time passes until then, all at once or from limit to limit.
    fn until(&mut self, then: Instant) {
        while self.watch.is_some() && self.now() < then {
            let due = self.watch.as_ref().and_then(Watch::due);
            let tick = Duration::from_nanos(1);
            let stops = [
                Some(then),
                self.deadline(),
                // Nothing may happen before.
                due.map(|due| due.from - tick),
                due.map(|due| due.from),
                due.and_then(|due| due.to),
            ];
            let now = self.now();
            let next = stops.into_iter().flatten().filter(|stop| *stop > now).min().unwrap_or(then);
            self.passes(next - now);
            self.told = true;
            self.turn();
        }
        let now = self.now();
        self.passes(then.saturating_duration_since(now));
    }

    /// The next limit, or in a second.
    fn next(&self) -> Instant {
        let due = self.watch.as_ref().and_then(Watch::due).map(|due| due.from);
        let first = [due, self.deadline()].into_iter().flatten().min();
        first.unwrap_or(self.now() + Duration::from_secs(1))
    }

    fn happens(&mut self, event: Event, octets: &[u8]) {
        let tick = Duration::from_nanos(1);
        match event {
            Event::Say(_) if self.wire.lock().unwrap().ended => {}
            Event::Say(count) => {
                let rest = &octets[self.said..];
                let piece = &rest[..count.min(rest.len())];
                if !piece.is_empty() {
                    self.said += piece.len();
                    self.say(piece);
                }
            }
            Event::Room(room) => self.change(|wire| wire.room = wire.room.saturating_add(room).min(ALL)),
            Event::Gate => _ = self.gate.fire(),
            Event::Pass(time) => self.until(self.now() + time),
            Event::PassDue => self.until(self.next()),
            Event::PassEarly => self.until(self.next() - tick),
            Event::Reset => {
                self.reset.get_or_insert(self.now());
                self.change(|wire| wire.reset = true);
            }
            Event::End => self.change(|wire| wire.ended = true),
            Event::Drain => self.trigger.drain(),
            Event::Force => {
                self.forced = true;
                self.trigger.force();
            }
            Event::CloseNotify if self.tls => self.change(|wire| wire.incoming.push_back(toy_tls::close_notify())),
            Event::Update if self.tls => self.change(|wire| wire.incoming.push_back(toy_tls::record(0x18, b""))),
            Event::Garbage if self.tls => self.change(|wire| wire.incoming.push_back(vec![7; 3])),
            Event::CloseNotify | Event::Update | Event::Garbage => {}
            Event::Turn => self.turn(),
        }
    }
}

/// Forgets what one has left that went wrong.
pub(crate) fn forget() {
    TRESPASSED.set(false);
    PERMIT.set(true);
    HELD.set(0);
    MOST.set(0);
}

/// Plays it to its end; panics where something is not as it should be.
pub(crate) fn play(script: &Script, start: Instant) {
    let octets = script.octets();
    let setup = &script.setup;
    let mut life = Life::begin(setup, start);
    // Under TLS the ends of records are in between, and the time for a head begins late.
    let is_watched = setup.prompt && !setup.tls;
    life.watch = is_watched.then(|| Watch::new(setup, &octets, start));
    if is_watched {
        life.turn();
    }
    for event in &script.events {
        life.happens(*event, &octets);
        if is_watched {
            life.turn();
        } else {
            // The shutdown wakes every connection.
            life.told |= life.trigger.draining().is_fired();
        }
    }
    let asked = plain::read(&octets);
    if setup.good {
        good(&mut life, &asked, &octets, setup);
    }
    end(&mut life, setup);
    let answers = answers(&life, &asked);
    check(&life, &asked, &octets, &answers);
    assert!(MOST.get() <= MOST_HELD, "it holds {} octets", MOST.get());
    assert!(held() <= MOST_HELD, "{} octets are left", held());
}

fn answers(life: &Life, asked: &[Asked]) -> Answers {
    let mut answers = Answers::default();
    answers.hear(&life.heard(), |index| asked.get(index).is_some_and(Asked::is_head));
    let wire = life.wire.lock().unwrap();
    if wire.shut || wire.closed {
        answers.end(wire.by_reset && !wire.shut);
    }
    answers
}

/// A client that sends all and takes all, in time, is answered.
fn good(life: &mut Life, asked: &[Asked], octets: &[u8], setup: &Setup) {
    for event in [Event::Say(ALL), Event::Gate, Event::Room(ALL), Event::Turn] {
        life.happens(event, octets);
    }
    let answers = answers(life, asked);
    let mut ends = false;
    for (index, asked) in asked.iter().enumerate().filter(|_| setup.good) {
        let Some(said) = answers.found.get(index) else {
            assert!(ends, "{} is not answered", asked.path);
            break;
        };
        assert!(!ends, "{} is answered behind the end", asked.path);
        let most = setup.requests.unwrap_or(u64::MAX);
        let may_end = !asked.persists || setup.no_keep_alive || index as u64 + 1 >= most || asked.is_http10;
        let is_left = asked.has_body() && (asked.expects || asked.chunked && !asked.is_read());
        ends = said.to_the_end
            || if asked.is_http10 {
                said.field("connection") != Some("keep-alive")
            } else {
                said.field("connection") == Some("close")
            };
        assert!(may_end || is_left || !ends, "it ends behind {}", asked.path);
        let whole = asked.answer(octets);
        let answer = asked.progress(octets.len(), true, whole.as_ref().map_or(0, Vec::len));
        let body = whole.filter(|_| !asked.is_head());
        let is_right = said.whole && Some(said.status) == answer.status && body.is_none_or(|body| body == said.body);
        assert!(is_right, "the answer to {} is {} of {} octets", asked.path, said.status, said.body.len());
    }
    assert!(ends || life.connection.is_some(), "a good client is not left");
}

/// The client goes, and then the connection does.
fn end(life: &mut Life, setup: &Setup) {
    if setup.tls && setup.notifies {
        life.change(|wire| wire.incoming.push_back(toy_tls::close_notify()));
    }
    life.change(|wire| wire.ended = true);
    let gone = life.now();
    while life.now() - gone < Duration::from_secs(300) {
        life.turn();
        let Some(connection) = &life.connection else { break };
        let deadline = connection.deadline().expect("who waits for a client that has gone waits for the clock");
        life.until(deadline);
        // The end of the stream can't be seen behind octets that nobody reads; a reset can.
        if life.now() - gone > Duration::from_secs(100) {
            life.reset.get_or_insert(life.now());
            life.change(|wire| wire.reset = true);
        }
    }
    assert!(life.connection.is_none(), "it ends");
    assert!(life.wire.lock().unwrap().closed, "and closes");
    assert_eq!(life.alive.load(SeqCst), 0, "what the application had is dropped");
    assert!(life.calls.lock().unwrap().iter().all(|call| call.gone), "its handlers are");
}

/// What came is the beginning of what was asked for, in order, or ends visibly; the server's own refusals end it.
fn check(life: &Life, asked: &[Asked], octets: &[u8], answers: &Answers) {
    let is_closed = life.tls && Heard::of(&life.wire.lock().unwrap().out).is_closed();
    assert!(!answers.is_within() || !is_closed, "what is not whole does not end with close_notify");
    for (index, said) in answers.found.iter().enumerate() {
        assert!(said.whole || index + 1 == answers.found.len(), "behind what is not whole");
        let Some(asked) = asked.get(index) else {
            assert!([400, 408].contains(&said.status), "an answer to nothing is {}", said.status);
            continue;
        };
        let whole = asked.answer(octets);
        let answer = asked.progress(octets.len(), true, whole.as_ref().map_or(0, Vec::len));
        if said.status != 200 {
            let is_right = [400, 408, 503].contains(&said.status) || Some(said.status) == answer.status;
            assert!(is_right, "the answer to {} is {}", asked.path, said.status);
            continue;
        }
        assert!(answer.status == Some(200), "{} is answered", asked.path);
        if let Some(whole) = whole.filter(|_| !asked.is_head()) {
            let right = whole.starts_with(&said.body) && (!said.whole || whole == said.body && !answer.cut);
            assert!(right, "what was said to {}", asked.path);
        }
    }
}
