//! The measurements, one file each, and what they share: the order in which servers take their turns.

mod allocations;
mod blocking;
mod chat;
mod echo;
mod files;
mod get;
mod growth;
mod h2;
mod idle;
mod instructions;
mod stalling;
mod starvation;
mod stream;
mod syscalls;
mod tls;
mod ws;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::options::Options;
use crate::process::{Server, Start, cpus, raise_file_limit};
use crate::subjects::{Built, Route, build};
use crate::table::Table;

/// What can be measured.
#[derive(Clone, Copy, PartialEq)]
pub enum Measurement {
    Get,
    Pipeline,
    Instructions,
    Allocations,
    Syscalls,
    Idle,
    Sleep,
    Echo,
    Stream,
    Starvation,
    Blocking,
    Stalling,
    Chat,
    Tls,
    H2,
    Ws,
    Files,
    Growth,
}

use Measurement::*;

impl Measurement {
    pub const ALL: [Self; 18] = [
        Get,
        Pipeline,
        Instructions,
        Allocations,
        Syscalls,
        Idle,
        Sleep,
        Echo,
        Stream,
        Starvation,
        Blocking,
        Stalling,
        Chat,
        Tls,
        H2,
        Ws,
        Files,
        Growth,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Get => "get",
            Pipeline => "pipeline",
            Instructions => "instructions",
            Allocations => "allocations",
            Syscalls => "syscalls",
            Idle => "idle",
            Sleep => "sleep",
            Echo => "echo",
            Stream => "stream",
            Starvation => "starvation",
            Blocking => "blocking",
            Stalling => "stalling",
            Chat => "chat",
            Tls => "tls",
            H2 => "h2",
            Ws => "ws",
            Files => "files",
            Growth => "growth",
        }
    }

    pub fn about(self) -> &'static str {
        match self {
            Get => "GET / on 64 keep-alive connections: requests a second, latency, CPU time",
            Pipeline => "the same with 16 requests pipelined",
            Instructions => "instructions a request, counted by valgrind --tool=callgrind",
            Allocations => "calls of malloc and its like a request, and the octets they ask for, traced by valgrind",
            Syscalls => "system calls a request, counted by strace",
            Idle => "memory and threads of 10,000 idle keep-alive connections",
            Sleep => "10,000 requests that each wait 5 s",
            Echo => "bodies of 1 MiB and 64 MiB sent back: MB/s, CPU time and peak memory",
            Stream => "responses of 100,000 chunks of 1 KiB: MB/s, CPU time and peak memory",
            Starvation => "GET / while long polls, idle and slow connections are open",
            Blocking => "GET / while 200 requests block their threads",
            Stalling => "an axum handler that blocks its own thread for 50 ms, 200 clients: requests a second",
            Chat => "a chat room of 5,000 WebSockets and 5,000 long-polls: a message to all",
            Tls => "under TLS: instructions, handshakes, GET /, 64 MiB down and up, idle connections",
            H2 => {
                "HTTP/2: instructions, CPU time, requests a second of GET / and of 64 KiB down and up; memory of what is idle"
            }
            Ws => "WebSockets that echo: messages a second, CPU time, instructions, system calls, idle memory",
            Growth => "how cost grows: with fields, idle connections and the length of bodies",
            Files => "a folder with files of 4 KiB, 64 KiB and 8 MiB: requests a second, CPU time, peak memory",
        }
    }

    pub fn run(self, bench: &Bench<'_>) -> Vec<Table> {
        match self {
            Get => get::run(bench, 1),
            Pipeline => get::run(bench, 16),
            Instructions => vec![instructions::run(bench)],
            Allocations => vec![allocations::run(bench)],
            Syscalls => vec![syscalls::run(bench)],
            Idle => vec![idle::idle(bench)],
            Sleep => vec![idle::sleep(bench)],
            Echo => vec![echo::run(bench)],
            Stream => vec![stream::run(bench)],
            Starvation => vec![starvation::run(bench)],
            Blocking => vec![blocking::run(bench)],
            Stalling => vec![stalling::run(bench)],
            Chat => vec![chat::run(bench)],
            Tls => tls::run(bench),
            H2 => h2::run(bench),
            Ws => vec![ws::run(bench)],
            Files => vec![files::run(bench)],
            Growth => growth::run(bench),
        }
    }
}

/// Everything a measurement needs: the built servers and the machine.
pub struct Bench<'a> {
    pub options: &'a Options,
    built: Vec<Built>,
    pub cpus: Vec<usize>,
    /// How many files this process and each server may open.
    pub files: u64,
    /// A directory of this run's own, removed at its end.
    scratch: PathBuf,
}

/// The samples of one server, or why there are none.
pub type Samples<T> = (&'static str, Result<Vec<T>, String>);

impl<'a> Bench<'a> {
    pub fn prepare(options: &'a Options) -> Result<Self, String> {
        let files = raise_file_limit();
        let scratch = std::env::temp_dir().join(format!("benchmarks-{}", std::process::id()));
        std::fs::create_dir_all(&scratch).map_err(|error| format!("cannot create {}: {error}", scratch.display()))?;
        Ok(Self { options, built: build(options.subjects()), cpus: cpus(), files, scratch })
    }

    pub fn scratch(&self) -> &Path {
        &self.scratch
    }

    pub fn start(&self, built: &Built, start: &Start) -> Result<Server, String> {
        Server::start(built, start, &self.scratch)
    }

    /// One event loop for every CPU.
    pub fn workers(&self) -> usize {
        self.cpus.len().max(1)
    }

    /// Takes a sample of each server that has the route, in turn, `rounds` times, every other round in reverse order. A
    /// server that has failed once is left out from then on.
    pub fn in_turn<T>(
        &self,
        what: &str,
        route: Route,
        rounds: u32,
        mut sample: impl FnMut(&Built) -> Result<T, String>,
    ) -> Vec<Samples<T>> {
        let mut all: Vec<(&Built, Result<Vec<T>, String>)> = Vec::new();
        for built in self.built.iter().filter(|built| built.subject.has(route)) {
            all.push((built, built.program.as_ref().map(|_| Vec::new()).map_err(Clone::clone)));
        }
        for round in 0..rounds {
            let mut turns: Vec<_> = all.iter_mut().collect();
            if round % 2 == 1 {
                turns.reverse();
            }
            for (built, samples) in turns {
                let Ok(so_far) = samples else { continue };
                eprintln!("{what}, round {} of {rounds}: {}", round + 1, built.subject.name);
                match sample(built) {
                    Ok(one) => so_far.push(one),
                    Err(reason) => {
                        eprintln!("  {reason}");
                        *samples = Err(reason);
                    }
                }
            }
        }
        all.into_iter().map(|(built, samples)| (built.subject.name, samples)).collect()
    }
}

impl Drop for Bench<'_> {
    fn drop(&mut self) {
        // What cannot be removed is left to the system's own cleaning of its temporary directory.
        let _ = std::fs::remove_dir_all(&self.scratch);
    }
}

/// Whether a program can be run here.
fn installed(program: &str) -> bool {
    Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
