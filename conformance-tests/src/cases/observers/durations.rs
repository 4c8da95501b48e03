//! How long a server says that a request took. OBS-12

use super::{start, stop};
use crate::case::{Failure, ensure};
use crate::lifecycle::Lifecycle;
use crate::observations::Observations;
use crate::wire::http2::Http2;

pub(super) fn durations(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let (running, seen) = start(life, |_| {})?;
    let cx = &running.context;
    for (count, &(script, head, all)) in TAKING.iter().enumerate() {
        let mut connection = cx.connect()?;
        connection.send(cx.get(script).close().bytes())?;
        connection.rest()?;
        took(&seen, count + 1, script, head, all)?;
    }
    stop(running, &seen)
}

pub(super) fn durations_of_streams(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let (running, seen) = start(life, |_| {})?;
    let mut client = Http2::open(&running.context)?;
    for (count, &(script, head, all)) in TAKING.iter().enumerate() {
        let stream = client.get("/", script)?;
        client.response(stream)?;
        took(&seen, count + 1, script, head, all)?;
    }
    // Others come and go on the same connection meanwhile.
    const OTHERS: usize = 7;
    let slow = client.get("/", "sleep 60; stream text:a sleep:60 text:b")?;
    for _ in 0..OTHERS {
        let quick = client.get("/", "sleep 20; body x")?;
        client.response(quick)?;
    }
    client.response(slow)?;
    let told = seen.wait("took", TAKING.len() + OTHERS + 1)?;
    let to_last = |told: &String| told.split(' ').nth(1).and_then(|number| number.parse::<u64>().ok());
    let longest = told.iter().skip(TAKING.len()).filter_map(to_last).max();
    ensure!(longest >= Some(120), "a stream among others took 120 ms, and {longest:?} ms were told");
    drop(client);
    stop(running, &seen)
}

/// Scripts, and the milliseconds that the head takes at least, and all of the response.
const TAKING: [(&str, u64, u64); 7] = [
    ("busy 60; body x", 60, 60),
    ("sleep 60; busy 60; body x", 120, 120),
    ("blocking; sleep 60; body x", 60, 60),
    ("busy 60; stream text:a sleep:60 text:b", 60, 120),
    ("sleep 60; stream text:a sleep:60 text:b", 60, 120),
    ("blocking; iter text:a sleep:60 text:b", 0, 60),
    ("busy 60; error x", 60, 60),
];

/// What is told of the request of that number: at least so many milliseconds.
fn took(seen: &Observations, number: usize, script: &str, head: u64, all: u64) -> Result<(), Failure> {
    let told = seen.wait("took", number)?.pop().unwrap_or_default();
    let mut numbers = told.split(' ').map(|number| number.parse::<u64>().unwrap_or(0));
    let (to_first, to_last) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    ensure!(to_first >= head, "\"{script}\" took {head} ms to the head, and {to_first} ms were told");
    ensure!(to_last >= all, "\"{script}\" took {all} ms, and {to_last} ms were told");
    Ok(())
}
