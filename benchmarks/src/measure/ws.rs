//! `ws`: WebSockets that echo binary messages, without compression: messages a second, CPU time, instructions and system
//! calls a message, and what idle ones cost in memory.

use std::time::{Duration, Instant};

use super::idle::{crowd_size, growth, patience, settled};
use super::{Bench, Samples, installed, instructions, syscalls};
use crate::load::crowd::Crowd;
use crate::load::frame::Message;
use crate::load::socket::Socket;
use crate::load::steady::Until;
use crate::process::Start;
use crate::subjects::{BASE_WS, Built, Route};
use crate::table::{Cell, Table, median};

const CONNECTIONS: usize = 64;
/// Octets of a message: the first is what most columns are of, the last has MB/s.
const SIZES: [usize; 4] = [64, 16, 1024, 64 * 1024];
/// How long counting may take: Python under callgrind is slow.
const LIMIT: Duration = Duration::from_secs(180);

/// What was seen with messages of one size.
#[derive(Clone, Copy)]
struct Rate {
    messages: f64,
    user: f64,
    system: f64,
}

pub fn run(bench: &Bench<'_>) -> Table {
    let (rounds, seconds, count) = (bench.options.rounds(), bench.options.seconds(), crowd_size(bench));
    let messages = if bench.options.quick { 1_000 } else { 5_000 };
    let title = format!(
        "WebSockets, echo: {CONNECTIONS} clients, one message of 64 octets outstanding each (or of 16, of 1 KiB, of 64 \
         KiB); rounds: {rounds}, of {seconds} s each; Ir and calls: {messages} messages, {} clients, one worker; memory: \
         {count} idle",
        instructions::CONNECTIONS
    );
    let columns = [
        ("msg/s", 0),
        ("min", 0),
        ("max", 0),
        ("of trillium-tokio", 2),
        ("user µs/msg", 2),
        ("sys µs/msg", 2),
        ("Ir/msg", 0),
        ("of trillium-tokio ", 2),
        ("calls/msg", 2),
        ("16: msg/s", 0),
        ("CPU µs", 2),
        ("1 KiB: msg/s", 0),
        ("CPU µs ", 2),
        ("64 KiB: MB/s", 0),
        ("CPU µs  ", 1),
        ("idle", 0),
        ("bytes/connection", 0),
        ("which calls", 0),
    ];
    let mut table = Table::new("ws", title, &columns);
    let rates = bench.in_turn("ws", Route::WebSocket, rounds, |built| {
        SIZES.map(|size| rate(bench, built, size)).into_iter().collect::<Result<Vec<_>, _>>()
    });
    let load = (messages, LIMIT);
    let open = |address| Socket::many(address, instructions::CONNECTIONS, 1, SIZES[0]);
    let valgrind = installed("valgrind") && installed("callgrind_control");
    let counts = bench.in_turn("ws, instructions", Route::WebSocket, 1, |built| match valgrind {
        true => instructions::count(bench, built, Start::new(1), load, open),
        false => Err("valgrind is not installed".into()),
    });
    let strace = installed("strace");
    let calls = bench.in_turn("ws, system calls", Route::WebSocket, 1, |built| match strace {
        true => syscalls::sample(bench, built, load, open),
        false => Err("strace is not installed".into()),
    });
    let idle = bench.in_turn("ws, idle", Route::WebSocket, 1, |built| idle(bench, built, count));
    let base_rates = samples_of(&rates, BASE_WS);
    let base_count = samples_of(&counts, BASE_WS).map(|samples| samples[0]);
    for (name, samples) in &rates {
        let row = samples.clone().map(|rounds| {
            let of = |size: usize, value: fn(&Rate) -> f64| rounds.iter().map(move |round| value(&round[size]));
            let cpu = |size: usize| median(of(size, |rate| rate.user + rate.system));
            // Within a round: the machine is not equally fast in all of them.
            let ratio = base_rates
                .map(|base| median(rounds.iter().zip(base).map(|(own, base)| own[0].messages / base[0].messages)));
            let mut cells: Vec<Cell> = vec![
                median(of(0, |rate| rate.messages)).into(),
                of(0, |rate| rate.messages).fold(f64::INFINITY, f64::min).into(),
                of(0, |rate| rate.messages).fold(0.0, f64::max).into(),
                ratio.into(),
                median(of(0, |rate| rate.user)).into(),
                median(of(0, |rate| rate.system)).into(),
            ];
            let count = samples_of(&counts, name).map(|samples| samples[0]);
            cells.extend([count.into(), count.zip(base_count).map(|(own, base)| own / base).into()]);
            let [calls, which] =
                samples_of(&calls, name).map_or([Cell::Nothing, Cell::Nothing], |samples| syscalls::cells(&samples[0]));
            cells.push(calls);
            for size in [1, 2] {
                cells.extend([median(of(size, |rate| rate.messages)).into(), cpu(size).into()]);
            }
            cells.extend([(median(of(3, |rate| rate.messages)) * SIZES[3] as f64 / 1e6).into(), cpu(3).into()]);
            let idle = samples_of(&idle, name).map(|samples| samples[0]);
            cells.extend([idle.map(|(sockets, _)| sockets).into(), idle.map(|(_, bytes)| bytes).into()]);
            cells.push(which);
            cells
        });
        table.row(name, row);
    }
    table
}

/// What one server's samples are, if it has any.
fn samples_of<'a, T>(all: &'a [Samples<T>], name: &str) -> Option<&'a [T]> {
    let (_, samples) = all.iter().find(|(one, _)| *one == name)?;
    samples.as_deref().ok().filter(|samples| !samples.is_empty())
}

fn rate(bench: &Bench<'_>, built: &Built, size: usize) -> Result<Rate, String> {
    let server = bench.start(built, &Start::new(bench.workers()))?;
    let mut load = Socket::many(server.address, CONNECTIONS, bench.workers(), size)?;
    let warm_up = if bench.options.quick { 300 } else { 1000 };
    load.run(Until::Time(Duration::from_millis(warm_up)))?;
    let before = server.cpu_time();
    let tally = load.run(Until::Time(Duration::from_secs(bench.options.seconds())))?;
    let after = server.cpu_time();
    let each = |time: f64| time / tally.requests as f64;
    Ok(Rate {
        messages: tally.rate(),
        user: each(after.user - before.user),
        system: each(after.system - before.system),
    })
}

/// How many WebSockets have had a message echoed and are still open, and the memory of each.
fn idle(bench: &Bench<'_>, built: &Built, count: usize) -> Result<(f64, f64), String> {
    let server = bench.start(built, &Start::new(bench.workers()))?;
    let before = settled(&server);
    let mut crowd = Crowd::open_sockets(server.address, count, Message::new(SIZES[0], 0))?;
    crowd.attend(Instant::now() + patience(bench))?;
    let echoed = crowd.answered().len();
    std::thread::sleep(Duration::from_millis(500));
    let after = server.resident();
    crowd.notice()?;
    match crowd.failure {
        Some(failure) if echoed == 0 => Err(failure),
        _ => Ok((crowd.idle() as f64, growth(before, after, echoed))),
    }
}
