//! `chat`: one room of the example `chat`, 5,000 members on WebSockets and 5,000 long-polling; how long a message takes
//! to the last of them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::Bench;
use super::idle::{crowd_size, growth};
use crate::load::exchange::answers;
use crate::load::room::Room;
use crate::process::Start;
use crate::subjects::{Built, Route};
use crate::table::{Table, median};

/// How long all may take to come in, and a message to reach the last one.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two messages, for polls to be sent again.
const PAUSE: Duration = Duration::from_millis(500);

struct Sample {
    joined: f64,
    threads: f64,
    websocket: f64,
    poll: f64,
    bytes: f64,
    cpu: f64,
}

pub fn run(bench: &Bench<'_>) -> Table {
    let count = crowd_size(bench);
    let messages = if bench.options.quick { 3 } else { 9 };
    let title = format!(
        "the example chat: {} members of a room on WebSockets and {} long-polling, medians of {messages} messages",
        count - count / 2,
        count / 2
    );
    let columns = [
        ("all in after s", 1),
        ("threads", 0),
        ("last WebSocket ms", 0),
        ("last long-poll ms", 0),
        ("bytes/connection", 0),
        ("CPU ms/message", 0),
    ];
    let mut table = Table::new("chat", title, &columns);
    for (name, samples) in bench.in_turn("chat", Route::Chat, 1, |built| sample(bench, built, count, messages)) {
        table.row(
            name,
            samples.map(|samples| {
                let Sample { joined, threads, websocket, poll, bytes, cpu } = samples[0];
                [joined, threads, websocket, poll, bytes, cpu].map(Into::into).into()
            }),
        );
    }
    table
}

fn sample(bench: &Bench<'_>, built: &Built, count: usize, messages: u32) -> Result<Sample, String> {
    let server = bench.start(built, &Start { ready: answers, ..Start::new(bench.workers()) })?;
    let before = server.resident();
    let begun = Instant::now();
    let mut room = Room::open(server.address, count)?;
    // The room itself says how many it has.
    let joined = loop {
        room.attend(Instant::now() + Duration::from_millis(100), false)?;
        let online = online(server.address)?;
        if let Some(failure) = room.failure {
            return Err(failure);
        }
        if online == count {
            break begun.elapsed();
        }
        if begun.elapsed() > PATIENCE {
            return Err(format!("only {online} of {count} came in"));
        }
    };
    room.attend(Instant::now() + PAUSE, false)?;
    let mut delays = Vec::new();
    let mut threads = 0;
    let cpu = server.cpu_time();
    for _ in 0..messages {
        delays.push(room.say(PATIENCE)?);
        threads = threads.max(server.threads());
        room.attend(Instant::now() + PAUSE, false)?;
    }
    let used = server.cpu_time();
    Ok(Sample {
        joined: joined.as_secs_f64(),
        threads: threads as f64,
        websocket: median(delays.iter().map(|[websocket, _]| *websocket)),
        poll: median(delays.iter().map(|[_, poll]| *poll)),
        bytes: growth(before, server.resident(), count),
        cpu: (used.user + used.system - cpu.user - cpu.system) / 1e3 / f64::from(messages),
    })
}

/// How many members the room has, as a poll that does not wait says.
fn online(address: SocketAddr) -> Result<usize, String> {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET /poll?room=bench&wait=0 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = ask().map_err(|error| format!("asking who is online: {error}"))?;
    let json = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let value: serde_json::Value = serde_json::from_str(json).map_err(|error| format!("who is online? {error}"))?;
    value["online"]["count"].as_u64().map(|count| count as usize).ok_or_else(|| "nobody says who is online".into())
}
