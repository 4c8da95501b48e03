//! Redis, HAProxy and the chat as processes; each is ended when it is dropped.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;

use rustix::process::{Pid, Signal};
use tempfile::TempDir;

use crate::support::{PATIENCE, until};

/// Where a program is. Debian's haproxy is not in everybody's PATH.
fn found(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
    folders.find_map(|folder| Some(folder.join(program)).filter(|path| path.is_file()))
}

/// Why a program can't be run, if it can't.
pub(crate) fn missing(program: &str) -> Option<String> {
    found(program).is_none().then(|| format!("{program} is not installed"))
}

/// A process; killed when it is dropped.
struct Process(Child);

impl Process {
    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.0.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    fn has_ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts what `make` makes for an address of `host` that is free now. Who takes it meanwhile makes the next one be tried.
fn listening(host: &str, make: impl Fn(SocketAddr) -> Command) -> (Process, SocketAddr) {
    let attempt = || {
        let addr = TcpListener::bind((host, 0)).unwrap().local_addr().unwrap();
        started(make(addr), addr).map(|process| (process, addr))
    };
    (0..5).find_map(|_| attempt()).expect("it starts")
}

/// Once it listens.
fn started(mut command: Command, addr: SocketAddr) -> Option<Process> {
    let mut process = Process(command.stdin(Stdio::null()).spawn().unwrap());
    let listens = until("it listens", || match TcpStream::connect(addr) {
        Ok(_) => Some(true),
        Err(_) => process.has_ended().then_some(false),
    });
    listens.then_some(process)
}

fn to_log(command: &mut Command, folder: &Path, name: &str) {
    let log = fs::OpenOptions::new().create(true).append(true).open(folder.join(name)).unwrap();
    command.stdout(log.try_clone().unwrap()).stderr(log);
}

/// Redis as `redis.conf` has it, with a folder of its own.
pub(crate) struct RedisServer {
    folder: TempDir,
    addr: SocketAddr,
    process: Option<Process>,
}

impl RedisServer {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("redis.conf"), include_str!("../../redis.conf")).unwrap();
        // Nobody connects from there, so that nobody has taken the port when Redis comes back.
        let (process, addr) = listening("127.0.0.4", |addr| Self::command(folder.path(), addr));
        let redis = RedisServer { folder, addr, process: Some(process) };
        redis.connection();
        redis
    }

    fn command(folder: &Path, addr: SocketAddr) -> Command {
        let mut command = Command::new(found("redis-server").unwrap());
        command.current_dir(folder).arg("redis.conf");
        command.args(["--bind", &addr.ip().to_string(), "--port", &addr.port().to_string()]);
        to_log(&mut command, folder, "redis.log");
        command
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}/", self.addr)
    }

    /// One that is answered: Redis has read what it wrote before.
    pub(crate) fn connection(&self) -> redis::Connection {
        let client = redis::Client::open(self.url()).unwrap();
        until("Redis answers", || {
            let mut connection = client.get_connection().ok()?;
            redis::cmd("PING").query::<String>(&mut connection).ok()?;
            Some(connection)
        })
    }

    /// Without a word to it, as a power cut is.
    pub(crate) fn kill(&mut self) {
        self.process.take().expect("it runs");
    }

    /// At the same place, with what is on the disk.
    pub(crate) fn start_again(&mut self) {
        let command = Self::command(self.folder.path(), self.addr);
        self.process = Some(started(command, self.addr).expect("its port is free"));
        self.connection();
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.process.as_ref().expect("it runs").signal(signal);
    }
}

/// A process of the chat.
pub(crate) struct Chat {
    process: Process,
    pub(crate) addr: SocketAddr,
}

impl Chat {
    pub(crate) fn start(server: &str, redis: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_redis-chat"));
        command.args(["--server", server, "--bind", "127.0.0.1:0", "--trusted-proxy", "127.0.0.1", "--redis", redis]);
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("ADAPTER_")) {
                command.env_remove(name);
            }
        }
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let process = Process(child);
        let (sender, addr) = channel();
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if let Some((_, addr)) = line.split_once(" listening on http://") {
                    let _ = sender.send(addr.parse().unwrap());
                }
                // Shown where the test fails.
                println!("{line}");
            }
        });
        Chat { process, addr: addr.recv_timeout(PATIENCE).expect("it says where it listens") }
    }

    pub(crate) fn kill(self) {
        drop(self.process);
    }
}

/// HAProxy as `haproxy.cfg` has it, before two processes; answers say in `x-process` whose they are.
pub(crate) struct Haproxy {
    _folder: TempDir,
    _process: Process,
    pub(crate) addr: SocketAddr,
}

impl Haproxy {
    pub(crate) fn start(one: SocketAddr, two: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (process, addr) = listening("127.0.0.3", |addr| {
            let config = include_str!("../../haproxy.cfg");
            assert!(["127.0.0.1:8000", "127.0.0.1:8081", "127.0.0.1:8082"].iter().all(|place| config.contains(place)));
            let config = config.replace("127.0.0.1:8000", &addr.to_string());
            let config = config.replace("127.0.0.1:8081", &one.to_string()).replace("127.0.0.1:8082", &two.to_string());
            let file = folder.path().join("haproxy.cfg");
            fs::write(&file, config + "    http-response set-header X-Process %s\n").unwrap();
            let mut command = Command::new(found("haproxy").unwrap());
            command.arg("-db").arg("-f").arg(file);
            to_log(&mut command, folder.path(), "haproxy.log");
            command
        });
        Haproxy { _folder: folder, _process: process, addr }
    }
}
