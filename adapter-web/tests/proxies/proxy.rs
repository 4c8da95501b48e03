//! A proxy as a process, with a configuration of `examples/deploy` in which only the addresses are others.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use adapter_web::server::ListenAddr;

use crate::wire::PATIENCE;

#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Nginx,
    Haproxy,
    Apache,
    Caddy,
}

#[derive(Clone, Copy)]
pub(crate) enum Upstream {
    Tcp,
    Unix,
    ProxyV1,
    ProxyV2,
    /// By prior knowledge.
    Http2,
}

impl Upstream {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Upstream::Tcp => "tcp",
            Upstream::Unix => "unix",
            Upstream::ProxyV1 => "proxy-v1",
            Upstream::ProxyV2 => "proxy-v2",
            Upstream::Http2 => "http2",
        }
    }
}

impl Kind {
    pub(crate) const ALL: [Kind; 4] = [Kind::Nginx, Kind::Haproxy, Kind::Apache, Kind::Caddy];

    /// The program.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Nginx => "nginx",
            Kind::Haproxy => "haproxy",
            Kind::Apache => "apache2",
            Kind::Caddy => "caddy",
        }
    }

    /// How it can ask a server.
    pub(crate) fn upstreams(self) -> &'static [Upstream] {
        match self {
            Kind::Haproxy => &[Upstream::Tcp, Upstream::Unix, Upstream::ProxyV1, Upstream::ProxyV2, Upstream::Http2],
            Kind::Caddy => &[Upstream::Tcp, Upstream::Unix, Upstream::Http2],
            _ => &[Upstream::Tcp, Upstream::Unix],
        }
    }

    /// Why it can't be run, if it can't.
    pub(crate) fn missing(self) -> Option<String> {
        // Where Debian has them, which is not in everybody's PATH.
        let folders = std::env::var_os("PATH").unwrap_or_default();
        let mut folders = std::env::split_paths(&folders).chain(["/usr/sbin".into()]);
        let is_there = folders.any(|folder| folder.join(self.name()).is_file());
        (!is_there).then(|| format!("{} is not installed", self.name()))
    }

    fn config(self) -> &'static str {
        match self {
            Kind::Nginx => include_str!("../../../examples/deploy/nginx.conf"),
            Kind::Haproxy => include_str!("../../../examples/deploy/haproxy.cfg"),
            Kind::Apache => include_str!("../../../examples/deploy/apache2.conf"),
            Kind::Caddy => include_str!("../../../examples/deploy/Caddyfile"),
        }
    }

    /// A socket at `path`, in place of host and port.
    fn unix(self, path: &Path) -> (&'static str, String) {
        let path = path.display();
        match self {
            Kind::Nginx => ("127.0.0.1:8080", format!("unix:{path}")),
            Kind::Haproxy => ("127.0.0.1:8080", format!("unix@{path}")),
            Kind::Apache => ("http://127.0.0.1:8080", format!("unix:{path}|http://localhost")),
            Kind::Caddy => ("127.0.0.1:8080", format!("unix/{path}")),
        }
    }

    /// Runs in the foreground, with all it writes in `folder`.
    fn command(self, config: &Path, folder: &Path) -> Command {
        let found = Path::new("/usr/sbin").join(self.name());
        let mut command = Command::new(if found.is_file() { found.as_path() } else { Path::new(self.name()) });
        match self {
            Kind::Nginx => {
                let rest = "daemon off; pid nginx.pid; error_log stderr;";
                command.arg("-p").arg(folder).arg("-c").arg(config).args(["-e", "stderr", "-g", rest])
            }
            Kind::Haproxy => command.arg("-db").arg("-f").arg(config),
            Kind::Apache => command.arg("-DFOREGROUND").arg("-f").arg(config),
            Kind::Caddy => {
                command.env("XDG_DATA_HOME", folder).env("XDG_CONFIG_HOME", folder).env("HOME", folder);
                command.arg("run").arg("--adapter").arg("caddyfile").arg("--config").arg(config)
            }
        };
        command
    }
}

/// Ended when it is dropped.
pub(crate) struct Proxy {
    pub(crate) kind: Kind,
    pub(crate) by: Upstream,
    pub(crate) addr: SocketAddr,
    process: Child,
}

impl Proxy {
    /// In front of `upstream`.
    pub(crate) fn start(kind: Kind, by: Upstream, upstream: &ListenAddr, folder: &Path) -> Self {
        let folder = folder.join(kind.name());
        fs::create_dir(&folder).unwrap();
        // The port is free now; who takes it meanwhile makes the next one be tried. Other tests listen at 127.0.0.1.
        (0..5).find_map(|_| Self::try_start(kind, by, upstream, &folder)).expect("it starts")
    }

    fn try_start(kind: Kind, by: Upstream, upstream: &ListenAddr, folder: &Path) -> Option<Self> {
        let addr = TcpListener::bind("127.0.0.3:0").unwrap().local_addr().unwrap();
        let (place, upstream) = match upstream {
            ListenAddr::Unix(path) => kind.unix(path),
            other => ("127.0.0.1:8080", other.to_string()),
        };
        let mut config = kind.config().replace(place, &upstream);
        config = config.replace("127.0.0.1:8000", &addr.to_string()).replace(":8000", &format!(":{}", addr.port()));
        config = config.replace("/run/apache2", &folder.display().to_string());
        match kind {
            Kind::Caddy => config.insert_str(0, "{\n\tadmin off\n\tdefault_bind 127.0.0.3\n}\n"),
            // Its workers are of another user where it is root's, who may not go into the folder of the socket.
            Kind::Nginx if rustix::process::geteuid().is_root() => config.insert_str(0, "user root;\n"),
            _ => {}
        }
        let config = match by {
            Upstream::Tcp | Upstream::Unix => config,
            // As haproxy.cfg says in a comment.
            Upstream::ProxyV1 => config.replace(" check\n", " check send-proxy\n"),
            Upstream::ProxyV2 => config.replace(" check\n", " check send-proxy-v2\n"),
            // The one and the other.
            Upstream::Http2 => {
                config.replace(" check\n", " check proto h2\n").replace("reverse_proxy ", "reverse_proxy h2c://")
            }
        };
        let path = folder.join("config");
        fs::write(&path, config).unwrap();
        let log = fs::File::create(folder.join("log")).unwrap();
        let mut command = kind.command(&path, folder);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let mut process = command.spawn().unwrap();
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(addr).is_err() {
            if process.try_wait().unwrap().is_some() || Instant::now() > deadline {
                println!("{}", fs::read_to_string(folder.join("log")).unwrap_or_default());
                drop(Proxy { kind, by, addr, process });
                return None;
            }
            thread::sleep(Duration::from_millis(20));
        }
        Some(Proxy { kind, by, addr, process })
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // So that it takes its workers with it.
        if let Some(pid) = i32::try_from(self.process.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let deadline = Instant::now() + PATIENCE;
        while self.process.try_wait().is_ok_and(|ended| ended.is_none()) {
            if Instant::now() > deadline {
                let _ = self.process.kill();
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}
