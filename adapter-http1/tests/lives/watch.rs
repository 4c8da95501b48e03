//! What has to be seen of a connection that is looked after at once, whenever it rests: which answers, how far, whether it is closed; and
//! when the next limit is up, to the tick. By the plain model, the clock and the chapters on limits, ends and shutdown.
//!
//! `Watch::rest` is told what there is. What a limit does it does by itself first, so that an end that comes too early or too late is no
//! less wrong than one that nobody expects. Two limits at one moment leave open which comes first: then it looks no further.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::application::Call;
use super::client::Answers;
use super::plain::{self, Answer, Asked, Then, Waits};
use super::script::{Setup, Times};

/// The end of a stream is put up with that long by who has something to say. \[DIS-04b\]
const GRACE: Duration = Duration::from_millis(250);
/// A reset is seen by then. \[DIS-01\]
const SEEN: Duration = Duration::from_millis(500);
/// \[SHU-04\], \[SHU-14\]
const SPARED: Duration = Duration::from_secs(1);
/// What the end of a stream can hide behind.
const HIDES: usize = 32 * 1024;

/// What there is to be seen.
#[derive(Debug)]
pub(crate) struct Seen<'w> {
    pub(crate) now: Instant,
    /// Octets of what the client has to say that it has said.
    pub(crate) said: usize,
    pub(crate) gate: bool,
    pub(crate) ended: bool,
    pub(crate) reset: Option<Instant>,
    pub(crate) stopping: bool,
    pub(crate) forced: bool,
    /// The server has something for the client, and no room for it.
    pub(crate) blocked: bool,
    /// What the client has got.
    pub(crate) out: &'w [u8],
    pub(crate) shut: bool,
    /// And whether by a reset.
    pub(crate) closed: Option<bool>,
    pub(crate) calls: &'w [Call],
}

/// What a limit is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    /// A head that has begun, or may not have.
    Head,
    /// Nothing has come, or time is up for what nobody has to be told.
    Silent,
    Write,
    Handler(usize),
    Body(usize),
    /// The rest of a body nobody wants.
    Rest,
}

/// When, or between when and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Due {
    pub(crate) from: Instant,
    pub(crate) to: Option<Instant>,
    limit: Limit,
}

/// Octets are read that nobody wants. \[KAP-13\]
#[derive(Clone, Copy, Debug)]
struct Linger {
    /// Of the request, and how much has come.
    of: usize,
    come: usize,
    next: Instant,
    last: Instant,
    idle: Duration,
    hurried: bool,
}

impl Linger {
    fn new(of: usize, since: Instant, idle: Duration) -> Self {
        Linger { of, come: 0, next: since + idle, last: since + Duration::from_secs(30), idle, hurried: false }
    }

    fn goes_on(&mut self, now: Instant, stopping: bool, come: usize) -> Due {
        if stopping && !self.hurried {
            self.hurried = true;
            self.idle = GRACE;
            self.next = self.next.min(now + GRACE);
            self.last = self.last.min(now + Duration::from_secs(2));
        }
        if come > self.come {
            self.come = come;
            self.next = now + self.idle;
        }
        exactly(self.next.min(self.last), Limit::Silent)
    }
}

fn exactly(at: Instant, limit: Limit) -> Due {
    Due { from: at, to: Some(at), limit }
}

/// Where the connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// It waits for a head, behind so many requests; part of it has come.
    Head { part: bool },
    /// The application has the request.
    Called(Waits),
    /// The answer is there, the body of the request is not.
    Rest,
    /// No more requests.
    Closing,
    /// The client takes nothing.
    Blocked,
}

pub(crate) struct Watch {
    times: Times,
    most: Option<usize>,
    rationed: bool,
    start: Instant,
    asked: Vec<Asked>,
    /// The bodies of whole answers.
    whole: Vec<Option<Vec<u8>>>,
    pub(crate) answers: Answers,
    heard: usize,
    /// What follows on the answers that have begun.
    then: Vec<Then>,
    /// So much of the last answer was compared.
    compared: (usize, usize),
    /// What the clock has made of an answer.
    verdicts: BTreeMap<usize, Answer>,
    /// This one's head was refused before it was whole.
    refused: Option<usize>,
    /// It was left, by a reset or not.
    left: Option<bool>,
    /// The rest of that one's body did not come.
    given_up: Option<usize>,
    blocked_since: Option<Instant>,
    stalled_since: Option<Instant>,
    /// Of a head, or of idling: behind how many requests, whether part of it has come, and since when it may be, or is, waited for.
    head: Option<(usize, bool, Instant, Instant)>,
    body: Option<(usize, usize, Instant)>,
    rest: Option<Linger>,
    closing: Option<Linger>,
    /// For which answer, and from when on.
    grace: Option<(usize, Instant)>,
    due: Option<Due>,
    blind: bool,
}

impl Watch {
    pub(crate) fn new(setup: &Setup, octets: &[u8], start: Instant) -> Self {
        let asked = plain::read(octets);
        let whole = asked.iter().map(|asked| asked.answer(octets)).collect();
        let most = if setup.no_keep_alive { Some(1) } else { setup.requests.map(|most| most as usize) };
        Watch {
            times: setup.times,
            most,
            rationed: setup.ration.is_some(),
            start,
            asked,
            whole,
            answers: Answers::default(),
            heard: 0,
            then: Vec::new(),
            compared: (0, 0),
            verdicts: BTreeMap::new(),
            refused: None,
            left: None,
            given_up: None,
            blocked_since: None,
            stalled_since: None,
            head: None,
            body: None,
            rest: None,
            closing: None,
            grace: None,
            due: None,
            blind: false,
        }
    }

    /// The next limit.
    pub(crate) fn due(&self) -> Option<Due> {
        self.due.filter(|_| !self.blind)
    }

    /// The connection has nothing more to do now.
    pub(crate) fn rest(&mut self, seen: &Seen<'_>) {
        let Watch { answers, asked, .. } = self;
        answers.hear(&seen.out[self.heard..], |index| asked.get(index).is_some_and(Asked::is_head));
        if seen.shut || seen.closed.is_some() {
            answers.end(!seen.shut && seen.closed == Some(true));
        }
        let moved = seen.out.len() > std::mem::replace(&mut self.heard, seen.out.len());
        self.stalled_since = match self.stalled_since {
            _ if !seen.blocked => None,
            Some(since) if !moved => Some(since),
            _ => Some(seen.now),
        };
        if seen.forced {
            // [SHU-06]
            assert!(seen.closed.is_some(), "it goes on when it is forced to end");
            return;
        }
        if let Some(reset) = seen.reset {
            let in_time = seen.closed.is_some() || seen.now < reset + SEEN;
            assert!(in_time, "[DIS-01] a reset is not seen");
            return;
        }
        if self.blind || self.left.is_some() {
            return;
        }
        self.happens(seen);
        if self.blind {
            return;
        }
        let (index, place) = self.compare(seen);
        self.check_end(seen, index, place);
        self.due = if seen.closed.is_some() { None } else { self.next(seen, index, place) };
        if seen.blocked {
            self.blocked_since.get_or_insert(seen.now);
        } else {
            self.blocked_since = None;
        }
    }

    /// What a limit does that is up.
    fn happens(&mut self, seen: &Seen<'_>) {
        let Some(due) = self.due.take().filter(|due| seen.now >= due.from) else { return };
        let must = due.to.is_some_and(|to| seen.now >= to);
        let cut = |given| Answer { status: Some(200), given, waits: Waits::Nothing, cut: true };
        let said = |status| Answer { status: Some(status), given: 0, waits: Waits::Nothing, cut: false };
        match due.limit {
            Limit::Silent | Limit::Write if must || seen.closed.is_some() => {
                // [BOD-14b] an orderly end would be that of the answer.
                let is_open = self.answers.found.last().is_some_and(|said| said.to_the_end && !said.whole);
                let reset = due.limit == Limit::Write || is_open;
                assert!(seen.closed == Some(reset), "closed, by a reset or not: {:?} of {due:?}", seen.closed);
                self.left = Some(reset);
            }
            // Part of a head may or may not have been seen.
            Limit::Head if must || seen.shut || self.answers.found.last().is_some_and(|said| said.status == 408) => {
                self.refused = self.head.map(|head| head.0);
            }
            // It may be refused, and nobody knows.
            Limit::Head if seen.blocked => self.blind = true,
            Limit::Handler(index) => {
                assert!(seen.calls.get(index).is_some_and(|call| call.gone), "[LIM-09] the handler is still there");
                self.verdicts.insert(index, said(503));
                // What was read of its body is not known.
                self.blind |= seen.blocked;
            }
            Limit::Body(index) if self.asked[index].is_echo() => {
                self.verdicts.insert(index, cut(self.asked[index].sent(seen.said)));
            }
            Limit::Body(index) => _ = self.verdicts.insert(index, said(408)),
            // What the end hides behind may not be read at all.
            _ if due.to.is_none() => self.blind = true,
            Limit::Rest => self.given_up = self.rest.map(|rest| rest.of),
            _ => self.due = Some(due),
        }
    }

    /// Whether the answers are right, and where the connection is: at which request.
    fn compare(&mut self, seen: &Seen<'_>) -> (usize, Place) {
        let mut index = 0;
        let place = loop {
            let got = self.answers.found.get(index);
            if self.refused == Some(index) {
                assert!(got.is_some() || seen.blocked, "[LIM-04b] nothing is said to half a head");
                break Place::Closing;
            }
            let is_here = |asked: &&Asked| asked.head_end.is_some_and(|end| end <= seen.said);
            let Some(asked) = self.asked.get(index).filter(is_here) else {
                let asked = self.asked.get(index);
                let part = asked.is_some_and(|asked| asked.at < seen.said);
                let early = asked.filter(|_| part).and_then(|asked| asked.refused);
                // It may have been seen, and late, while nothing went out.
                let may_be_late = self.blocked_since.filter(|_| part).is_some_and(|since| {
                    let limit = Duration::from_millis(self.times.head);
                    seen.now >= since + limit
                });
                break match got.map(|got| got.status) {
                    None if seen.blocked => {
                        // It may be refused, and nobody knows.
                        self.blind |= may_be_late;
                        Place::Blocked
                    }
                    None => Place::Head { part },
                    // What is wrong may be seen before all is there.
                    Some(status)
                        if may_be_late && status == 408
                            || early.is_some_and(|early| [early, 400].contains(&status)) =>
                    {
                        self.refused = Some(index);
                        Place::Closing
                    }
                    Some(status) => panic!("{status} for nothing ({index})"),
                };
            };
            let whole = self.whole[index].as_deref();
            let length = whole.map_or(0, <[u8]>::len);
            let verdict = self.verdicts.get(&index).copied();
            let answer = verdict.unwrap_or_else(|| asked.progress(seen.said, seen.gate, length));
            let Some(status) = answer.status else {
                assert!(got.is_none(), "{} is answered too early: {:?}", asked.path, got.map(|got| got.status));
                if !seen.blocked {
                    assert!(seen.calls.len() == index + 1, "{} is not called ({})", asked.path, seen.calls.len());
                    let hurried = asked.expects && seen.said == asked.head_end.unwrap_or(0);
                    let is_right = !hurried || answer.waits != Waits::Body || self.answers.interim() == 1;
                    assert!(is_right, "[EXP-01a] no 100 for {}", asked.path);
                }
                break if seen.blocked { Place::Blocked } else { Place::Called(answer.waits) };
            };
            let Some(got) = got else {
                assert!(seen.blocked, "{} is not answered", asked.path);
                break Place::Blocked;
            };
            // What is wrong may have been seen before all was there.
            let is_right = got.status == status || asked.refused.is_some() && got.status == 400;
            assert!(is_right, "{} to {}, and not {status}", got.status, asked.path);
            // [EXP-01b], [EXP-02a], [EXP-05]
            assert!(got.interim <= usize::from(asked.expects && asked.is_read()), "a 100 too many for {}", asked.path);
            if let Some(whole) = whole.filter(|_| status == 200) {
                let from = if self.compared.0 == index { self.compared.1 } else { 0 };
                let upto = got.body.len();
                assert!(got.body.get(from..upto) == whole.get(from..upto), "what is said to {}", asked.path);
                self.compared = (index, upto);
                let right = if seen.blocked { upto <= answer.given } else { upto == answer.given };
                assert!(right, "{upto} octets for {}, and not {}", asked.path, answer.given);
            }
            let is_whole = answer.waits == Waits::Nothing && !answer.cut;
            assert!(is_whole || !got.whole, "{} is answered to the end, and it is none", asked.path);
            assert!(got.whole || seen.blocked || !is_whole, "the answer to {} has no end", asked.path);
            if self.then.len() == index {
                let call = seen.calls.get(index).and_then(|call| call.answered);
                let stopping = call.map_or(seen.stopping && !seen.blocked, |(_, stopping)| stopping);
                let mut then = asked.then(status, seen.said);
                if self.blocked_since.is_some() && then != Then::Ends || (asked.is_http10 && asked.is_drip()) {
                    then = Then::Either;
                }
                // [KAP-12], [SHU-05]
                if stopping || self.most.is_some_and(|most| index + 1 >= most) {
                    then = Then::Ends;
                }
                let ends = match (asked.is_http10, got.field("connection")) {
                    (true, said) => said != Some("keep-alive"),
                    (false, said) => said == Some("close"),
                };
                let is_right = then == Then::Either || ends == (then == Then::Ends);
                assert!(is_right, "what the answer to {} says of the connection: {}", asked.path, got.head);
                self.then.push(if ends { Then::Ends } else { Then::Goes });
            }
            match answer.waits {
                _ if seen.blocked && !got.whole => break Place::Blocked,
                Waits::Nothing if answer.cut || self.then[index] == Then::Ends => break Place::Closing,
                Waits::Nothing if self.given_up == Some(index) => break Place::Closing,
                Waits::Nothing if seen.blocked && !asked.is_whole(seen.said) => break Place::Blocked,
                Waits::Nothing if !asked.is_whole(seen.said) => break Place::Rest,
                Waits::Nothing => index += 1,
                waits => break Place::Called(waits),
            }
        };
        let most = index + usize::from(self.answers.found.len() > index);
        assert!(self.answers.found.len() <= most, "answers to nothing: {:?}", self.answers.found.get(most));
        let behind = place != Place::Blocked && !matches!(place, Place::Called(_)) && self.answers.interim() > 0;
        assert!(!behind, "a 100 for nothing");
        (index, if seen.blocked { Place::Blocked } else { place })
    }

    /// Whether it is closed exactly where it has to be.
    fn check_end(&mut self, seen: &Seen<'_>, index: usize, place: Place) {
        if let Place::Head { part } = place
            && seen.stopping
            && let Some(due) = self.head(seen, index, part)
            && (due.to <= Some(seen.now) || due.from <= seen.now && seen.closed.is_some())
        {
            // Its moment has passed.
            self.left = Some(false);
        }
        let is_over = self.left.is_some()
            || match place {
                // [KAP-08] nothing was asked; [ERR-12] nobody is there to be answered
                Place::Head { .. } | Place::Rest | Place::Closing | Place::Called(Waits::Body) => seen.ended,
                Place::Called(_) | Place::Blocked => false,
            };
        let told = || format!("request {index}, {place:?}, {:?}", self.asked.get(index).map(|asked| &asked.path));
        assert!(seen.closed.is_some() == is_over, "closed: {:?}, and not {is_over} ({})", seen.closed, told());
        let ends = place == Place::Closing || place == Place::Rest && seen.ended;
        assert!(is_over || seen.shut == (ends && !seen.blocked), "our side is ended: {} ({})", seen.shut, told());
    }

    /// The next limit.
    fn next(&mut self, seen: &Seen<'_>, index: usize, place: Place) -> Option<Due> {
        let (now, ms) = (seen.now, Duration::from_millis);
        let mut all = Vec::new();
        if let Some(since) = self.stalled_since {
            all.push(exactly(since + ms(self.times.write), Limit::Write));
        }
        // Whom the application has, whatever the client takes.
        let called = seen.calls.len().wrapping_sub(1);
        let open = seen.calls.last().filter(|call| call.answered.is_none() && !call.gone);
        if let (Some(call), Some(limit)) = (open, self.times.handler) {
            all.push(exactly(call.at + ms(limit), Limit::Handler(called)));
        }
        let is_open = |asked: &&Asked| asked.is_read() && !asked.is_whole(seen.said);
        let asked = self.asked.get(called).filter(is_open).filter(|_| !self.verdicts.contains_key(&called));
        let echoes = asked.filter(|asked| place == Place::Blocked && open.is_none() && asked.is_echo());
        if let Some(asked) = echoes {
            // It is read until enough waits for the client.
            let got = self.answers.found.get(called).map_or(0, |said| said.body.len());
            // And not without a permit.
            self.blind |= self.rationed || index != called || asked.sent(seen.said) > got + HIDES;
        }
        let reads = open.is_some() || place == Place::Called(Waits::Body) || echoes.is_some();
        let asked = asked.filter(|_| reads);
        self.body = asked.map(|asked| {
            let sent = asked.sent(seen.said);
            match self.body {
                Some((index, before, since)) if index == called && before == sent => (index, sent, since),
                _ => (called, sent, now),
            }
        });
        if let Some((index, _, since)) = self.body {
            all.push(exactly(since + ms(self.times.body), Limit::Body(index)));
        }
        let grace = place == Place::Called(Waits::Gate) && seen.ended;
        self.grace = self.grace.filter(|grace| grace.0 == index).or(grace.then_some((index, now)));
        if let (Some((_, since)), Some(asked)) = (self.grace.filter(|_| grace), self.asked.get(index)) {
            let unread = seen.said - asked.head_end.unwrap_or(0);
            let to = match asked.has_body() {
                false if unread < HIDES => Some(since + GRACE),
                true if unread < HIDES => Some(since + 2 * GRACE),
                _ => None,
            };
            all.push(Due { from: since + GRACE, to, limit: Limit::Silent });
        }
        match place {
            Place::Rest => {
                let fresh = Linger::new(index, now, Duration::from_secs(2));
                let rest = self.rest.get_or_insert(fresh);
                if rest.of != index {
                    *rest = fresh;
                }
                let due = rest.goes_on(now, seen.stopping, self.asked[index].sent(seen.said));
                all.push(Due { limit: Limit::Rest, ..due });
            }
            Place::Closing => {
                let closing = self.closing.get_or_insert(Linger::new(index, now, Duration::from_secs(2)));
                all.push(closing.goes_on(now, seen.stopping, seen.said));
            }
            Place::Head { part } => all.extend(self.head(seen, index, part)),
            Place::Called(_) | Place::Blocked => {}
        }
        if !matches!(place, Place::Head { .. }) {
            self.head = None;
        }
        let first = all.iter().min_by_key(|due| due.from).copied()?;
        let is_open = |due: &&Due| due.from <= first.to.unwrap_or(first.from);
        self.blind |= all.iter().filter(is_open).count() > 1;
        Some(first)
    }

    /// \[LIM-04\], \[KAP-08\], \[SHU-04\], \[SHU-15\] a head is waited for.
    fn head(&mut self, seen: &Seen<'_>, index: usize, part: bool) -> Option<Due> {
        let known = self.head.filter(|head| (head.0, head.1) == (index, part));
        let (_, _, from, to) = known.unwrap_or_else(|| match index {
            0 => (0, part, self.start, self.start),
            // Where nothing went out it may have been seen at any time since.
            _ if part => (index, part, self.blocked_since.unwrap_or(seen.now), seen.now),
            _ => (index, part, seen.now, seen.now),
        });
        self.head = Some((index, part, from, to));
        let (limit, kind) = match (index, part) {
            _ if seen.stopping => (SPARED, Limit::Silent),
            (0, false) => (Duration::from_millis(self.times.head), Limit::Silent),
            (_, true) => (Duration::from_millis(self.times.head), Limit::Head),
            (_, false) => (Duration::from_millis(self.times.idle), Limit::Silent),
        };
        Some(Due { from: from + limit, to: Some(to + limit), limit: kind })
    }
}
