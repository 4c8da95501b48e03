//! Web servers in front of a gateway: who speaks HTTP to the suite's client where the server under test speaks FastCGI or the like.
//!
//! Each is started with a configuration of its own in a folder of its own, on a port of the loopback, and ends when its [`Front`] is
//! dropped, or this process dies. One kind is chosen for the process, before anything runs.

mod config;
mod limits;

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use self::config::Terms;
pub(crate) use self::limits::limit;

use adapter_core::{ListenAddr, ServerInfo};

/// How long a start and an end may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// How often a start is tried: a port that was free may be taken meanwhile.
const TRIES: u32 = 5;
/// Between two looks at a program that starts: it tells nobody when it listens.
const LOOK: Duration = Duration::from_millis(10);

/// Runs a program until it ends, or until the pipe to this shell is closed, as it is when we die.
const KEEPER: &str =
    r#"exec 3<&0; "$@" 3<&- </dev/null & pid=$!; { read -r _ <&3; kill "$pid"; } 2>/dev/null & exec 3<&-; wait "$pid""#;

static CHOSEN: OnceLock<Kind> = OnceLock::new();

/// A web server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// nginx.
    Nginx,
    /// Apache httpd.
    Apache,
    /// lighttpd.
    Lighttpd,
    /// HAProxy.
    Haproxy,
    /// Caddy.
    Caddy,
}

/// All of them.
pub const KINDS: &[Kind] = &[Kind::Nginx, Kind::Apache, Kind::Lighttpd, Kind::Haproxy, Kind::Caddy];

/// What a web server has behind it.
#[derive(Clone, Copy, Debug)]
pub enum Upstream<'u> {
    /// A gateway that listens there.
    Listens(&'u ListenAddr),
    /// A program that is started for each request.
    Program(&'u Path),
}

/// Puts `kind` in front of gateways. Only the first call of a process counts; without one it is nginx.
pub fn choose(kind: Kind) {
    let _ = CHOSEN.set(kind);
}

/// What is put in front of gateways.
pub fn chosen() -> Kind {
    CHOSEN.get().copied().unwrap_or(Kind::Nginx)
}

/// Whether a server that speaks `protocol` needs somebody in front to be asked by HTTP.
pub fn is_needed(protocol: &str) -> bool {
    protocol != "http"
}

/// Puts one in front of a server that listens at `listening`, where it speaks something else than HTTP.
///
/// # Errors
/// As [`Front::start`].
pub(crate) fn before(server: &ServerInfo, listening: &[ListenAddr]) -> Result<Option<Front>, String> {
    if !is_needed(&server.protocol) {
        return Ok(None);
    }
    let to = listening.first().ok_or("the server reports no address")?;
    Front::start(chosen(), &server.protocol, Upstream::Listens(to)).map(Some)
}

impl Kind {
    /// The name of its program.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Nginx => "nginx",
            Kind::Apache => "apache2",
            Kind::Lighttpd => "lighttpd",
            Kind::Haproxy => "haproxy",
            Kind::Caddy => "caddy",
        }
    }

    /// The one of that name.
    pub fn named(name: &str) -> Option<Self> {
        KINDS.iter().copied().find(|kind| kind.name() == name)
    }

    fn program(self) -> Option<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        // Where Debian has what is for operators, which not everybody's PATH has.
        let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
        folders.map(|folder| folder.join(self.name())).find(|program| program.is_file())
    }

    /// Why it can't stand in front of a server that speaks `protocol`, if it can't.
    pub fn missing(self, protocol: &str) -> Option<String> {
        if self.program().is_none() {
            return Some(format!("{} is not installed", self.name()));
        }
        let speaks = match self {
            Kind::Nginx => matches!(protocol, "fastcgi" | "scgi" | "uwsgi"),
            Kind::Apache => config::apache_module(protocol).is_some(),
            Kind::Lighttpd => matches!(protocol, "fastcgi" | "scgi"),
            Kind::Haproxy | Kind::Caddy => protocol == "fastcgi",
        };
        if !speaks {
            return Some(format!("{} does not speak {protocol}", self.name()));
        }
        let module =
            config::apache_module(protocol).filter(|module| self == Kind::Apache && !config::apache_has(module));
        module.map(|module| format!("mod_{module} of apache2 is not installed"))
    }

    fn config(self, terms: &Terms<'_>) -> String {
        match self {
            Kind::Nginx => config::nginx(terms),
            Kind::Apache => config::apache(terms),
            Kind::Lighttpd => config::lighttpd(terms),
            Kind::Haproxy => config::haproxy(terms),
            Kind::Caddy => config::caddy(terms),
        }
    }

    /// What its program is told so that it runs with the configuration in `file`, in the foreground.
    fn arguments(self, folder: &Path, file: &Path) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = match self {
            Kind::Nginx => ["-e", "stderr", "-g", "daemon off;", "-p"].map(OsString::from).to_vec(),
            Kind::Apache => ["-DFOREGROUND", "-f"].map(OsString::from).to_vec(),
            Kind::Lighttpd => ["-D", "-f"].map(OsString::from).to_vec(),
            Kind::Haproxy => ["-db", "-f"].map(OsString::from).to_vec(),
            Kind::Caddy => ["run", "--adapter", "caddyfile", "--config"].map(OsString::from).to_vec(),
        };
        if self == Kind::Nginx {
            arguments.extend([folder.into(), "-c".into()]);
        }
        arguments.push(file.into());
        arguments
    }
}

/// A web server that runs in front of a gateway.
#[derive(Debug)]
pub struct Front {
    /// Where it speaks HTTP.
    pub address: SocketAddr,
    kind: Kind,
    keeper: Child,
    folder: tempfile::TempDir,
}

impl Front {
    /// Starts `kind` in front of the gateway `to`, which speaks `protocol`. Blocks until it listens.
    ///
    /// # Errors
    /// It is not installed, can't speak that, or does not start; with what it said.
    pub fn start(kind: Kind, protocol: &str, to: Upstream<'_>) -> Result<Front, String> {
        if let Some(missing) = kind.missing(protocol) {
            return Err(format!("{protocol} needs a web server in front: {missing}"));
        }
        Self::configured(kind, |address, folder| kind.config(&Terms { protocol, address, to, folder }))
    }

    /// Starts `kind` with what `config` says for an address and a folder of its own. Blocks until it listens there.
    ///
    /// # Errors
    /// It does not start; with what it said.
    pub fn configured(kind: Kind, config: impl Fn(SocketAddr, &Path) -> String) -> Result<Front, String> {
        let mut said = String::new();
        for _ in 0..TRIES {
            match Self::try_start(kind, &config) {
                Ok(front) => return Ok(front),
                Err(error) => said = error,
            }
        }
        Err(format!("{} did not start: {}", kind.name(), said.trim_end()))
    }

    fn try_start(kind: Kind, config: impl Fn(SocketAddr, &Path) -> String) -> Result<Front, String> {
        let told = |error: std::io::Error| error.to_string();
        // The port is free now; nobody else of the suite listens at that address, who could answer in its place.
        let address = TcpListener::bind("127.0.0.3:0").and_then(|free| free.local_addr()).map_err(told)?;
        let folder = tempfile::tempdir().map_err(told)?;
        let file = folder.path().join("config");
        fs::write(&file, config(address, folder.path())).map_err(told)?;
        let log = fs::File::create(folder.path().join("log")).map_err(told)?;
        let mut command = Command::new("sh");
        command.args(["-c", KEEPER, "sh"]).arg(kind.program().unwrap_or_default());
        command.args(kind.arguments(folder.path(), &file));
        // Caddy keeps what it has been told.
        command.env("XDG_CONFIG_HOME", folder.path()).env("XDG_DATA_HOME", folder.path());
        let output = log.try_clone().map_err(told)?;
        command.stdin(Stdio::piped()).stdout(output).stderr(log);
        let mut front = Front { address, kind, keeper: command.spawn().map_err(told)?, folder };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_err() {
            if front.keeper.try_wait().map_err(told)?.is_some() || Instant::now() > deadline {
                return Err(front.log());
            }
            thread::sleep(LOOK);
        }
        Ok(front)
    }

    /// Who it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The folder of its own, which goes with it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What it has said, such as errors of the gateway behind it.
    pub fn log(&self) -> String {
        let said = ["log", "errors"].map(|name| fs::read(self.folder.path().join(name)).unwrap_or_default());
        String::from_utf8_lossy(&said.concat()).into_owned()
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        // The keeper ends it.
        if let Some(mut pipe) = self.keeper.stdin.take() {
            let _ = pipe.flush();
        }
        let deadline = Instant::now() + PATIENCE;
        while self.keeper.try_wait().is_ok_and(|ended| ended.is_none()) {
            if Instant::now() > deadline {
                let _ = self.keeper.kill();
            }
            thread::sleep(LOOK);
        }
    }
}
