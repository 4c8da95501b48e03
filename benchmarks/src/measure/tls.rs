//! `tls`: what TLS costs. A table for `GET /` on keep-alive connections, one for handshakes, one for 64 MiB down and up, one
//! for idle connections.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;

use super::idle::{crowd_size, growth, patience};
use super::{Bench, Samples, installed, instructions, syscalls};
use crate::identity::Identity;
use crate::load::crowd::Crowd;
use crate::load::exchange::{connect, exchange, probe_over};
use crate::load::get;
use crate::load::steady::{Plan, Steady, Until};
use crate::load::wire::client;
use crate::process::{Server, Start};
use crate::subjects::{BASE_TLS, Built, Route};
use crate::table::{Cell, Table, median};

const CONNECTIONS: usize = 64;
/// Clients that shake hands at the same time.
const HANDS: usize = 16;
const MIB: usize = 1024 * 1024;
const BODY: usize = 64 * MIB;
const BLOCK: usize = 64 * 1024;
/// For one exchange.
const LIMIT: Duration = Duration::from_secs(20);

pub fn run(bench: &Bench<'_>) -> Vec<Table> {
    let identity = match Identity::make(bench.scratch()) {
        Ok(identity) => Arc::new(identity),
        Err(reason) => {
            let mut table = Table::new("tls", "TLS", &[]);
            table.row("all", Err(reason));
            return vec![table];
        }
    };
    let secured = Secured { bench, identity };
    vec![secured.instructions(), secured.get(), secured.handshakes(), secured.flow(), secured.idle()]
}

struct Secured<'b> {
    bench: &'b Bench<'b>,
    identity: Arc<Identity>,
}

fn ready(address: SocketAddr, limit: Duration) -> Result<Duration, String> {
    probe_over(address, Some(&client(false)), limit)
}

impl Secured<'_> {
    fn start(&self, workers: usize) -> Start {
        let mut start = Start::new(workers);
        start.identity = Some(self.identity.clone());
        start.ready = ready;
        start
    }

    fn server(&self, built: &Built, workers: usize) -> Result<Server, String> {
        self.bench.start(built, &self.start(workers))
    }

    fn instructions(&self) -> Table {
        let title = format!(
            "TLS: instructions (user space) a request: GET /, {} connections, {} requests",
            instructions::CONNECTIONS,
            instructions::REQUESTS
        );
        let mut table = Table::new("tls-instructions", title, &[("Ir/req", 0), ("of bare-hyper-tls", 3)]);
        let here = installed("valgrind") && installed("callgrind_control");
        let all = self.bench.in_turn("tls, instructions", Route::Secure, 1, |built| {
            if !here {
                return Err("valgrind is not installed".into());
            }
            instructions::sample(self.bench, built, self.start(1), Some(client(false)))
        });
        let base = all.iter().find(|(name, _)| *name == BASE_TLS);
        let base = base.and_then(|(_, samples)| samples.as_ref().ok()?.first().copied());
        for (name, samples) in &all {
            let row = samples.clone().map(|samples| vec![samples[0].into(), base.map(|base| samples[0] / base).into()]);
            table.row(name, row);
        }
        table
    }

    fn get(&self) -> Table {
        let (rounds, seconds) = (self.bench.options.rounds(), self.bench.options.seconds());
        let title =
            format!("TLS: GET /, {CONNECTIONS} keep-alive connections, not pinned; rounds: {rounds}, of {seconds} s");
        let columns = [("req/s", 0), ("p50 ms", 2), ("p99 ms", 2), ("user µs/req", 2), ("sys µs/req", 2)];
        let mut table = Table::new("tls-get", title, &columns);
        let all = self.bench.in_turn("tls, get", Route::Secure, rounds, |built| {
            let server = self.server(built, self.bench.workers())?;
            let threads = self.bench.workers();
            let plan = Plan {
                path: "/",
                fields: 1,
                connections: CONNECTIONS,
                depth: 1,
                threads,
                cpu: None,
                tls: Some(client(false)),
            };
            let mut load = Steady::open(server.address, &plan)?;
            load.run(Until::Time(Duration::from_millis(if self.bench.options.quick { 300 } else { 1000 })))?;
            let before = server.cpu_time();
            let tally = load.run(Until::Time(Duration::from_secs(seconds)))?;
            let after = server.cpu_time();
            let each = |time: f64| time / tally.requests as f64;
            let (user, system) = (each(after.user - before.user), each(after.system - before.system));
            Ok([tally.rate(), tally.milliseconds(0.5), tally.milliseconds(0.99), user, system])
        });
        for (name, samples) in all {
            table.row(name, samples.map(|samples| medians(&samples)));
        }
        table
    }

    fn handshakes(&self) -> Table {
        let (rounds, seconds) = (self.bench.options.rounds(), self.bench.options.seconds());
        let title = format!(
            "TLS: connections with a handshake and one GET /, {HANDS} at a time; rounds: {rounds}, of {seconds} s each"
        );
        let columns = [("full/s", 0), ("CPU µs each", 0), ("resumed/s", 0), ("CPU µs each resumed", 0)];
        let mut table = Table::new("tls-handshakes", title, &columns);
        let all = self.bench.in_turn("tls, handshakes", Route::Secure, rounds, |built| {
            let [full, full_cpu] = self.shake(built, false)?;
            let [resumed, resumed_cpu] = self.shake(built, true)?;
            Ok([full, full_cpu, resumed, resumed_cpu])
        });
        for (name, samples) in all {
            table.row(name, samples.map(|samples| medians(&samples)));
        }
        table
    }

    /// Handshakes a second, and what each costs the server.
    fn shake(&self, built: &Built, resumes: bool) -> Result<[f64; 2], String> {
        let server = self.server(built, self.bench.workers())?;
        let address = server.address;
        let time = Duration::from_secs(self.bench.options.seconds());
        let hand = || -> Result<u64, String> {
            // Of its own: what one client's session is worth to another is no matter here.
            let config = client(resumes);
            open_once(address, &config)?;
            let (begun, mut count) = (Instant::now(), 0);
            while begun.elapsed() < time {
                if open_once(address, &config)? != resumes {
                    return Err(if resumes { "a session was not resumed" } else { "a session was resumed" }.into());
                }
                count += 1;
            }
            Ok(count)
        };
        let (begun, before) = (Instant::now(), server.cpu_time());
        let counts: Result<Vec<u64>, String> = std::thread::scope(|scope| {
            let hands: Vec<_> = (0..HANDS).map(|_| scope.spawn(hand)).collect();
            hands.into_iter().map(|hand| hand.join().expect("the loader does not panic")).collect()
        });
        let (after, count) = (server.cpu_time(), counts?.iter().sum::<u64>() as f64);
        let cpu = after.user + after.system - before.user - before.system;
        Ok([count / begun.elapsed().as_secs_f64(), cpu / count])
    }

    fn flow(&self) -> Table {
        let rounds = self.bench.options.rounds();
        let title = format!("TLS: 64 MiB down (GET /stream) and up (POST /count), one connection; rounds: {rounds}");
        let columns =
            [("down MB/s", 0), ("down CPU ms", 0), ("up MB/s", 0), ("up CPU ms", 0), ("reads/MiB up", 1), ("which", 0)];
        let mut table = Table::new("tls-flow", title, &columns);
        let down = self.bench.in_turn("tls, down", Route::Secure, rounds, |built| self.rate(built, download));
        let up = self.bench.in_turn("tls, up", Route::SecureCount, rounds, |built| self.rate(built, upload));
        let reads = self.bench.in_turn("tls, reads", Route::SecureCount, 1, |built| self.reads(built));
        for (name, samples) in down {
            let row = samples.map(|samples| {
                let of = |all: &[Samples<[f64; 2]>]| match all.iter().find(|(one, _)| *one == name) {
                    Some((_, Ok(samples))) => medians(samples),
                    Some((_, Err(reason))) => vec![format!("fails: {reason}").into(), Cell::Nothing],
                    None => vec![Cell::Nothing, Cell::Nothing],
                };
                let mut cells = medians(&samples);
                cells.extend(of(&up));
                cells.extend(match reads.iter().find(|(one, _)| *one == name) {
                    Some((_, Ok(samples))) => [samples[0].0.into(), Cell::Text(samples[0].1.clone())],
                    Some((_, Err(reason))) => [Cell::Nothing, Cell::Text(format!("fails: {reason}"))],
                    None => [Cell::Nothing, Cell::Nothing],
                });
                cells
            });
            table.row(name, row);
        }
        table
    }

    /// MB/s and the CPU milliseconds of the server, of as many transfers as take a while.
    fn rate(&self, built: &Built, transfer: Transfer) -> Result<[f64; 2], String> {
        let server = self.server(built, self.bench.workers())?;
        let config = client(false);
        transfer(server.address, &config)?;
        let time = Duration::from_secs(self.bench.options.seconds());
        let (begun, before, mut count) = (Instant::now(), server.cpu_time(), 0.0);
        while begun.elapsed() < time {
            transfer(server.address, &config)?;
            count += 1.0;
        }
        let (elapsed, after) = (begun.elapsed().as_secs_f64(), server.cpu_time());
        let cpu = after.user + after.system - before.user - before.system;
        Ok([BODY as f64 * count / 1e6 / elapsed, cpu / 1e3 / count])
    }

    /// System calls that read, for each MiB of an upload, and which.
    fn reads(&self, built: &Built) -> Result<(f64, String), String> {
        if !installed("strace") {
            return Err("strace is not installed".into());
        }
        let server = self.server(built, 1)?;
        let config = client(false);
        upload(server.address, &config)?;
        let output = self.bench.scratch().join(format!("strace.tls.{}", built.subject.name));
        let mut strace = syscalls::attach(&server, &output)?;
        let done = upload(server.address, &config);
        syscalls::detach(&mut strace)?;
        done?;
        let text = fs::read_to_string(&output).map_err(|error| format!("strace wrote nothing: {error}"))?;
        let mut counts = syscalls::parse(&text);
        counts.retain(|(name, _)| ["read", "readv", "recvfrom", "recvmsg"].contains(&name.as_str()));
        let which: Vec<_> = counts.iter().map(|(name, calls)| format!("{name} {calls}")).collect();
        let sum: u64 = counts.iter().map(|(_, calls)| calls).sum();
        Ok((sum as f64 / (BODY / MIB) as f64, which.join(", ")))
    }

    fn idle(&self) -> Table {
        let count = crowd_size(self.bench);
        let title = format!("TLS: {count} connections opened at once, each of which sends GET / and then stays idle");
        let columns = [("answered", 0), ("in s", 2), ("bytes/connection", 0), ("threads", 0), ("still open", 0)];
        let mut table = Table::new("tls-idle", title, &columns);
        let all = self.bench.in_turn("tls, idle", Route::Secure, 1, |built| {
            let server = self.server(built, self.bench.workers())?;
            for _ in 0..50 {
                ready(server.address, LIMIT)?;
            }
            let before = server.resident();
            let mut crowd = Crowd::open_over(server.address, Some(&client(false)), count, "/")?;
            crowd.attend(Instant::now() + 2 * patience(self.bench))?;
            let answered = crowd.answered();
            std::thread::sleep(Duration::from_millis(500));
            let (after, threads) = (server.resident(), server.threads() as f64);
            crowd.notice()?;
            let last = answered.last().map_or(f64::NAN, Duration::as_secs_f64);
            let bytes = growth(before, after, answered.len());
            Ok([answered.len() as f64, last, bytes, threads, crowd.idle() as f64])
        });
        for (name, samples) in all {
            table.row(name, samples.map(|samples| medians(&samples)));
        }
        table
    }
}

/// The median of each figure.
fn medians<const N: usize>(samples: &[[f64; N]]) -> Vec<Cell> {
    (0..N).map(|index| median(samples.iter().map(|sample| sample[index])).into()).collect()
}

/// A handshake and one `GET /`, which comes behind the tickets; whether the session was resumed.
fn open_once(address: SocketAddr, config: &Arc<ClientConfig>) -> Result<bool, String> {
    let mut stream = connect(address, Some(config), LIMIT)?;
    exchange(&mut stream, &mut [0; 4096], [get("/").as_slice()], LIMIT)?;
    Ok(stream.is_resumed())
}

type Transfer = fn(SocketAddr, &Arc<ClientConfig>) -> Result<(), String>;

fn download(address: SocketAddr, config: &Arc<ClientConfig>) -> Result<(), String> {
    let request = get(&format!("/stream?n={}&size={BLOCK}", BODY / BLOCK));
    let mut stream = connect(address, Some(config), LIMIT)?;
    match exchange(&mut stream, &mut vec![0; 4 * BLOCK], [request.as_slice()], LIMIT)?.body {
        body if body == BODY as u64 => Ok(()),
        body => Err(format!("{body} bytes came of {BODY}")),
    }
}

fn upload(address: SocketAddr, config: &Arc<ClientConfig>) -> Result<(), String> {
    let head = format!("POST /count HTTP/1.1\r\nhost: localhost\r\ncontent-length: {BODY}\r\n\r\n");
    let block = [b'x'; BLOCK];
    let pieces = std::iter::once(head.as_bytes()).chain(std::iter::repeat_n(block.as_slice(), BODY / BLOCK));
    let mut stream = connect(address, Some(config), LIMIT)?;
    match exchange(&mut stream, &mut vec![0; BLOCK], pieces, LIMIT)?.body {
        // The number has as many digits.
        8 => Ok(()),
        body => Err(format!("an answer of {body} bytes")),
    }
}
