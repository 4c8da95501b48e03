//! The closed loop: a fixed set of connections, each asking again as soon as it is answered. Here is what asks for `GET`
//! on keep-alive connections, with one request outstanding or a batch of pipelined ones; `socket` has the other. One epoll
//! loop per thread; every response is checked.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::event::{Timespec, epoll};
use rustls::ClientConfig;

use super::exchange::connect;
use super::response::Reader;
use super::wire::Wire;
use super::{HELLO, get_with};
use crate::process::pin_this_thread;

/// How the connections are laid out.
pub struct Plan {
    /// What is asked for; it is answered as `/` is.
    pub path: &'static str,
    /// How many fields the request has.
    pub fields: usize,
    pub connections: usize,
    /// Requests sent together, before any answer is read.
    pub depth: usize,
    pub threads: usize,
    /// The CPU the loader stays on.
    pub cpu: Option<usize>,
    /// The connections are under TLS.
    pub tls: Option<Arc<ClientConfig>>,
}

/// When a run ends.
#[derive(Clone, Copy)]
pub enum Until {
    Time(Duration),
    /// So many answers, within a limit of time.
    Answers(u64, Duration),
}

/// What a run saw.
pub struct Tally {
    /// Every answer, those that came in after the end of the run included.
    pub requests: u64,
    /// The answers within `elapsed`.
    pub in_time: u64,
    pub elapsed: Duration,
    /// Nanoseconds from sending to the answer's arrival.
    pub latency: Histogram<u64>,
    /// Connections that were answered at least once.
    pub served: usize,
}

impl Tally {
    pub fn rate(&self) -> f64 {
        self.in_time as f64 / self.elapsed.as_secs_f64()
    }

    /// A quantile of the latency, in milliseconds.
    pub fn milliseconds(&self, quantile: f64) -> f64 {
        self.latency.value_at_quantile(quantile) as f64 / 1e6
    }
}

/// One connection of the loop, and what is asked and answered on it.
pub trait Talk: AsFd + Send {
    /// When the loop is to look at it.
    const EVENTS: epoll::EventFlags;

    /// Asks, once everything is answered.
    fn ask(&mut self) -> Result<(), String>;

    /// Takes what there is to take; how many answers ended in it.
    fn take(&mut self, buffer: &mut [u8]) -> Result<usize, String>;

    /// Whether an answer is still to come.
    fn waits(&self) -> bool;
}

/// Open connections, kept between the warm-up and the runs.
pub struct Steady<T = Keep> {
    loops: Vec<Loop<T>>,
    cpu: Option<usize>,
}

impl Steady {
    pub fn open(address: SocketAddr, plan: &Plan) -> Result<Self, String> {
        let batch: Arc<[u8]> = get_with(plan.path, plan.fields).repeat(plan.depth).into();
        let mut steady = Self::of(plan.connections, plan.threads, |_| {
            let stream = connect(address, plan.tls.as_ref(), Duration::from_secs(5))?;
            let (batch, depth) = (batch.clone(), plan.depth);
            Ok(Keep { stream, batch, depth, reader: Reader::default(), outstanding: 0, head: None })
        })?;
        steady.cpu = plan.cpu;
        Ok(steady)
    }
}

impl<T: Talk> Steady<T> {
    /// So many connections, opened one after the other, for so many threads.
    pub fn of(
        connections: usize,
        threads: usize,
        mut open: impl FnMut(usize) -> Result<T, String>,
    ) -> Result<Self, String> {
        let loops = (0..threads).map(|index| {
            let share = connections / threads + usize::from(index < connections % threads);
            Loop::of(share, &mut open)
        });
        Ok(Self { loops: loops.collect::<Result<_, _>>()?, cpu: None })
    }

    /// Runs all loops side by side and adds up what they saw.
    pub fn run(&mut self, until: Until) -> Result<Tally, String> {
        let share = match until {
            Until::Time(_) => until,
            Until::Answers(answers, limit) => Until::Answers(answers.div_ceil(self.loops.len() as u64), limit),
        };
        let cpu = self.cpu;
        let tallies: Vec<_> = std::thread::scope(|scope| {
            let run = |one: &mut Loop<T>| {
                cpu.map_or(Ok(()), pin_this_thread)?;
                one.run(share)
            };
            let threads: Vec<_> = self.loops.iter_mut().map(|one| scope.spawn(move || run(one))).collect();
            threads.into_iter().map(|thread| thread.join().expect("the loader does not panic")).collect()
        });
        let mut sum: Option<Tally> = None;
        for tally in tallies {
            let tally = tally?;
            sum = Some(match sum {
                None => tally,
                Some(mut sum) => {
                    sum.requests += tally.requests;
                    sum.in_time += tally.in_time;
                    sum.elapsed = sum.elapsed.max(tally.elapsed);
                    sum.latency += tally.latency;
                    sum.served += tally.served;
                    sum
                }
            });
        }
        sum.filter(|sum| sum.requests > 0).ok_or_else(|| "nothing was answered".into())
    }
}

struct Loop<T> {
    epoll: std::os::fd::OwnedFd,
    seats: Vec<Seat<T>>,
    buffer: Vec<u8>,
}

struct Seat<T> {
    talk: T,
    asked: Instant,
    served: bool,
}

impl<T: Talk> Loop<T> {
    fn of(connections: usize, open: &mut impl FnMut(usize) -> Result<T, String>) -> Result<Self, String> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|error| format!("epoll: {error}"))?;
        let seats = (0..connections).map(|index| {
            let talk = open(index)?;
            epoll::add(&epoll, &talk, epoll::EventData::new_u64(index as u64), T::EVENTS)
                .map_err(|error| format!("epoll: {error}"))?;
            // A burst is for `crowd`: some servers (tiny_http) queue its connections behind each other for good.
            std::thread::sleep(Duration::from_micros(500));
            Ok(Seat { talk, asked: Instant::now(), served: false })
        });
        let seats = seats.collect::<Result<_, String>>()?;
        Ok(Self { epoll, seats, buffer: vec![0; 64 * 1024] })
    }

    fn run(&mut self, until: Until) -> Result<Tally, String> {
        let begin = Instant::now();
        let (end, target) = match until {
            Until::Time(time) => (begin + time, u64::MAX),
            Until::Answers(answers, limit) => (begin + limit, answers),
        };
        let mut latency = Histogram::new_with_bounds(1, 120_000_000_000, 3).expect("valid bounds");
        let mut requests = 0;
        for seat in &mut self.seats {
            seat.served = false;
            if !seat.talk.waits() {
                seat.ask()?;
            }
        }
        let mut events = Vec::with_capacity(256);
        // Set once the run has ended: how it stood then, and until when stragglers are waited for.
        let mut ended: Option<(u64, Duration, Instant)> = None;
        loop {
            let now = Instant::now();
            match ended {
                None if now >= end || requests >= target => {
                    ended = Some((requests, now - begin, now + Duration::from_secs(1)));
                }
                Some((.., give_up)) if now >= give_up => break,
                _ => {}
            }
            if ended.is_some() && self.seats.iter().all(|seat| !seat.talk.waits()) {
                break;
            }
            wait(&self.epoll, &mut events, Duration::from_millis(50)).map_err(|error| format!("epoll: {error}"))?;
            for event in events.drain(..) {
                let seat = &mut self.seats[event.data.u64() as usize];
                let answered = seat.talk.take(&mut self.buffer)?;
                if answered > 0 {
                    seat.served = true;
                    requests += answered as u64;
                    let time = seat.asked.elapsed().as_nanos() as u64;
                    latency.saturating_record_n(time, answered as u64);
                }
                if !seat.talk.waits() && ended.is_none() {
                    seat.ask()?;
                }
            }
        }
        let (in_time, elapsed, _) = ended.expect("the loop ends only after the run");
        if target != u64::MAX && in_time < target {
            return Err(format!("{in_time} of {target} requests answered in {:.0} s", elapsed.as_secs_f64()));
        }
        let served = self.seats.iter().filter(|seat| seat.served).count();
        Ok(Tally { requests, in_time, elapsed, latency, served })
    }
}

impl<T: Talk> Seat<T> {
    fn ask(&mut self) -> Result<(), String> {
        self.asked = Instant::now();
        self.talk.ask()
    }
}

/// A keep-alive connection that sends the same batch of requests again and again.
pub struct Keep {
    stream: Wire,
    batch: Arc<[u8]>,
    depth: usize,
    reader: Reader,
    /// Requests sent and not yet answered.
    outstanding: usize,
    /// Head length of the last answer, when it had the plain shape the fast check knows.
    head: Option<usize>,
}

impl AsFd for Keep {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Talk for Keep {
    const EVENTS: epoll::EventFlags = epoll::EventFlags::IN;

    fn ask(&mut self) -> Result<(), String> {
        self.outstanding = self.depth;
        // A batch is far smaller than a socket buffer, and the last one has been read: it goes out at once.
        self.stream.write_all(&self.batch).map_err(|error| format!("sending: {error}"))
    }

    fn take(&mut self, buffer: &mut [u8]) -> Result<usize, String> {
        let mut answered = 0;
        loop {
            let read = match self.stream.read(buffer) {
                Ok(0) => return Err("the server closed a keep-alive connection".into()),
                Ok(read) => read,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => 0,
                Err(error) => return Err(format!("receiving: {error}")),
            };
            answered += self.check(&buffer[..read])?;
            // The socket would not report it again.
            if !self.stream.has_input() {
                break;
            }
        }
        self.outstanding =
            self.outstanding.checked_sub(answered).ok_or("the server sent more answers than were asked for")?;
        Ok(answered)
    }

    fn waits(&self) -> bool {
        self.outstanding > 0
    }
}

impl Keep {
    /// How many answers end in `rest`.
    fn check(&mut self, mut rest: &[u8]) -> Result<usize, String> {
        let mut answered = 0;
        while !rest.is_empty() {
            if let Some(length) = self.known_shape(rest) {
                rest = &rest[length..];
                answered += 1;
                continue;
            }
            let (taken, response) = self.reader.read(rest)?;
            rest = &rest[taken..];
            if let Some(response) = response {
                if response.body != HELLO.len() as u64 {
                    return Err(format!("a body of {} bytes, not {}", response.body, HELLO.len()));
                }
                self.head = response.sized.then_some(response.head);
                answered += 1;
            }
        }
        Ok(answered)
    }

    /// The cheap check: status 200, a head as long as the last one, and the right body after it.
    fn known_shape(&self, input: &[u8]) -> Option<usize> {
        let head = self.head.filter(|_| self.reader.between())?;
        let total = head + HELLO.len();
        let right = input.len() >= total
            && input.starts_with(b"HTTP/1.1 200")
            && &input[head - 4..head] == b"\r\n\r\n"
            && &input[head..total] == HELLO.as_bytes();
        right.then_some(total)
    }
}

/// Waits for events, for at most `limit`; a signal is no event.
pub fn wait(
    epoll: &std::os::fd::OwnedFd,
    events: &mut Vec<epoll::Event>,
    limit: Duration,
) -> Result<(), rustix::io::Errno> {
    let limit = Timespec { tv_sec: limit.as_secs() as i64, tv_nsec: i64::from(limit.subsec_nanos()) };
    match epoll::wait(epoll, rustix::buffer::spare_capacity(events), Some(&limit)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error),
    }
}
