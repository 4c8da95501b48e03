//! Server processes: started on a free loopback port, waited for, measured through `/proc`, and ended by their id.

use std::fs::{self, File};
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::identity::Identity;
use crate::load::exchange::probe;
use crate::subjects::{Built, Threads};

/// How a server is started.
#[derive(Clone)]
pub struct Start {
    /// Event loops, for those that have them.
    pub workers: usize,
    /// The size of a pool, where not the subject's own.
    pub pool: Option<usize>,
    /// The CPU it stays on.
    pub cpu: Option<usize>,
    /// A program to run it under, with its arguments.
    pub under: Vec<String>,
    /// How long it may take to answer for the first time.
    pub patience: Duration,
    /// The certificate that it is to show; without one it is plain.
    pub identity: Option<Arc<Identity>>,
    /// What it must answer for that.
    pub ready: fn(SocketAddr, Duration) -> Result<Duration, String>,
}

impl Start {
    pub fn new(workers: usize) -> Self {
        let patience = Duration::from_secs(10);
        Self { workers, pool: None, cpu: None, under: Vec::new(), patience, identity: None, ready: probe }
    }
}

/// A running server; dropping it kills it.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
}

/// CPU time in microseconds.
#[derive(Clone, Copy, Default, Debug, PartialEq)]
pub struct CpuTime {
    pub user: f64,
    pub system: f64,
}

impl Server {
    /// Starts it and waits until it has answered `GET /`. What it prints goes to a file in `scratch`.
    pub fn start(built: &Built, start: &Start, scratch: &Path) -> Result<Self, String> {
        let program = built.program.as_ref().map_err(Clone::clone)?;
        let port = free_port()?;
        let threads = match built.subject.threads {
            Threads::Workers => start.workers,
            Threads::Pool(threads) => start.pool.unwrap_or(threads),
            Threads::Fixed(threads) => threads,
        };
        let mut command = match start.under.split_first() {
            None => Command::new(program),
            Some((under, arguments)) => {
                let mut command = Command::new(under);
                command.args(arguments).arg(program);
                command
            }
        };
        let (errors, errors_path) = errors_file(scratch, built.subject.name)?;
        let arguments = built.subject.arguments(port, threads, start.identity.as_deref(), scratch)?;
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
        let child = spawn_on(&mut command, start.cpu)?;
        let mut server = Server { child, address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)) };
        server.wait_ready(start, &errors_path)?;
        Ok(server)
    }

    fn wait_ready(&mut self, start: &Start, errors: &Path) -> Result<(), String> {
        let begun = Instant::now();
        let patience = start.patience;
        loop {
            // Short, and again: some servers (astra) now and then lose a connection for good.
            let unready = match (start.ready)(self.address, patience.min(Duration::from_secs(2))) {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            let ended = self.child.try_wait().map_err(|error| format!("does not start: {error}"))?;
            if let Some(status) = ended {
                let text = fs::read_to_string(errors).unwrap_or_default();
                let reason = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("no message").trim();
                return Err(format!("does not start: {status}: {reason}"));
            }
            if begun.elapsed() > patience {
                return Err(format!("does not answer: {unready}"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The CPU time of the process and all its descendants.
    pub fn cpu_time(&self) -> CpuTime {
        cpu_time(&tree(self.id()))
    }

    /// Resident memory in KiB.
    pub fn resident(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// The highest resident memory so far, in KiB.
    pub fn peak(&self) -> u64 {
        self.status("VmHWM:")
    }

    pub fn threads(&self) -> u64 {
        self.status("Threads:")
    }

    /// The threads of the process itself, by id.
    pub fn tasks(&self) -> Vec<u32> {
        let entries = fs::read_dir(format!("/proc/{}/task", self.id()));
        entries.into_iter().flatten().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
    }

    /// A number of `/proc/PID/status`, summed over the process tree.
    fn status(&self, key: &str) -> u64 {
        let number = |id: u32| status(&fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default(), key);
        tree(self.id()).into_iter().filter_map(number).sum()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // An error means that it has ended already. What it has started does not end with it.
        let started = tree(self.id());
        let _ = self.child.kill();
        for id in started.into_iter().skip(1).filter_map(|id| Pid::from_raw(id as i32)) {
            let _ = kill_process(id, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

/// The number after `key` in the text of `/proc/PID/status`.
pub fn status(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key))?.split_whitespace().next()?.parse().ok()
}

/// utime and stime in the text of `/proc/PID/stat`; the name before them may hold spaces and parentheses.
fn ticks(text: &str) -> Option<(u64, u64)> {
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// The CPU time of some processes together.
fn cpu_time(ids: &[u32]) -> CpuTime {
    let mut sum = CpuTime::default();
    for id in ids {
        let text = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        if let Some((user, system)) = ticks(&text) {
            sum.user += user as f64 * tick();
            sum.system += system as f64 * tick();
        }
    }
    sum
}

/// The CPU time in microseconds that everybody but this process has had since the machine started.
pub fn cpu_time_of_others() -> f64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let own = cpu_time(&[std::process::id()]);
    busy(&text).unwrap_or(0) as f64 * tick() - own.user - own.system
}

/// The busy ticks in the text of `/proc/stat`, those that a hypervisor took included: all of
/// `user nice system idle iowait irq softirq steal` but the idle ones.
fn busy(text: &str) -> Option<u64> {
    let line = text.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = line.split_whitespace().take(8).filter_map(|field| field.parse().ok()).collect();
    (ticks.len() == 8).then(|| ticks.iter().sum::<u64>() - ticks[3] - ticks[4])
}

/// A clock tick in microseconds.
fn tick() -> f64 {
    1e6 / rustix::param::clock_ticks_per_second() as f64
}

/// A process and its descendants.
fn tree(root: u32) -> Vec<u32> {
    let mut ids = vec![root];
    let mut next = 0;
    while next < ids.len() {
        let tasks = fs::read_dir(format!("/proc/{}/task", ids[next]));
        for task in tasks.into_iter().flatten().flatten() {
            let mut text = String::new();
            if File::open(task.path().join("children")).and_then(|mut file| file.read_to_string(&mut text)).is_ok() {
                ids.extend(text.split_whitespace().filter_map(|id| id.parse::<u32>().ok()));
            }
        }
        next += 1;
    }
    ids
}

/// A port below the ephemeral range, so that no outgoing connection can take it before the server does.
fn free_port() -> Result<u16, String> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + (std::process::id() % 4_000) as u16;
    for _ in 0..2_000 {
        let port = first + NEXT.fetch_add(1, Ordering::Relaxed) % 8_000;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    Err("no free port".into())
}

fn errors_file(scratch: &Path, name: &str) -> Result<(File, PathBuf), String> {
    let path = scratch.join(format!("{name}.stderr"));
    let file = File::create(&path).map_err(|error| format!("cannot create a file for its messages: {error}"))?;
    Ok((file, path))
}

/// Spawns from a thread that is bound to `cpu`: the child inherits the binding.
fn spawn_on(command: &mut Command, cpu: Option<usize>) -> Result<Child, String> {
    std::thread::scope(|scope| {
        let spawn = || {
            cpu.map_or(Ok(()), pin_this_thread)?;
            command.spawn().map_err(|error| format!("does not start: {error}"))
        };
        scope.spawn(spawn).join().expect("spawning does not panic")
    })
}

/// Binds the calling thread to one CPU.
pub fn pin_this_thread(cpu: usize) -> Result<(), String> {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).map_err(|error| format!("cannot bind to CPU {cpu}: {error}"))
}

/// The CPUs this process may run on.
pub fn cpus() -> Vec<usize> {
    let set = sched_getaffinity(None).unwrap_or_default();
    (0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect()
}

/// Raises the soft limit of open files to the hard one; returns what it is then. Servers inherit it.
pub fn raise_file_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    // If it fails, the old limit stays, and it is the one that is returned.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_proc() {
        assert_eq!(ticks("1 (a) b) S 2 3 4 5 6 7 8 9 10 11 120 34 0 0 20"), Some((120, 34)));
        assert_eq!(busy("cpu  1 2 3 400 500 6 7 8 0 0\ncpu0 1"), Some(27));
        assert_eq!(status("Name:\tx\nVmRSS:\t  123 kB\nThreads:\t4\n", "VmRSS:"), Some(123));
        assert!(tree(std::process::id()).contains(&std::process::id()));
        assert!(!cpus().is_empty());
    }
}
