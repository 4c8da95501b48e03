//! The table of subjects: what is measured, how each is built, how it is started, and which routes it has.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::identity::Identity;
use crate::nginx::{self, Site};
use crate::uvicorn;

/// A program under measurement.
pub struct Subject {
    pub name: &'static str,
    build: Build,
    arguments: &'static [&'static str],
    pub threads: Threads,
    routes: &'static [Route],
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Build {
    /// A crate below `peers/`, by its package name.
    Peer(&'static str),
    /// An example of the main workspace.
    Example(&'static str),
    /// The same with the feature `tls`, in a target directory of its own.
    Secured(&'static str),
    /// What is installed here, with a configuration written for it.
    Nginx,
    /// From PyPI.
    Uvicorn,
}

/// What a number of threads means to it.
#[derive(Clone, Copy)]
pub enum Threads {
    /// Event loops: as many as the measurement has workers.
    Workers,
    /// A pool that runs the application: so many, unless the measurement says otherwise.
    Pool(usize),
    /// One thread per connection by design: always so many.
    Fixed(usize),
}

/// What a measurement asks of a subject.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Route {
    Hello,
    Sleep,
    SleepBlocking,
    Echo,
    Stream,
    StreamBlocking,
    /// A handler that blocks its own thread.
    Stall,
    Chat,
    /// Under TLS: `GET /`, and `GET /stream`.
    Secure,
    /// Under TLS: `POST /count`, which reads the body and answers with its length.
    SecureCount,
    /// Over HTTP/2 by prior knowledge: `GET /`, and `GET /stream`.
    Http2,
    /// Over HTTP/2: `POST /count`, and `GET /sleep`.
    Http2Routes,
    /// `/ws`, a WebSocket that sends messages back.
    WebSocket,
    /// What is in a folder, by its name; `/` is its index.html.
    Files,
    /// `/` and `/stream`, of those whose cost is looked at closely.
    Growth,
}

use Route::*;

const OURS: &[Route] = &[Hello, Sleep, SleepBlocking, Echo, Stream, StreamBlocking, Growth];
const BARE: &[Route] = &[Hello, Sleep, SleepBlocking, Echo, Stream, Growth];
const ALL: &[Route] = &[Hello, Sleep, SleepBlocking, Echo, Stream, StreamBlocking];
const ASYNC: &[Route] = &[Hello, Sleep, SleepBlocking, Echo, Stream];

const AXUM: &[Route] = &[Hello, Sleep, SleepBlocking, Echo, Stream, Stall];

/// The subject the ratios are relative to.
pub const BASE: &str = "bare-hyper";

/// What is served where a folder is, in the directory for files that a subject needs.
pub const FOLDER: &str = "folder";

const POOL: Threads = Threads::Pool(20);

/// Ours first, an axum `Router` on them too, then the base, then the field.
pub const SUBJECTS: &[Subject] = &[
    ours("hyper", &["--server", "hyper"], Threads::Workers),
    ours("actix", &["--server", "actix"], Threads::Workers),
    ours("smol", &["--server", "smol"], Threads::Workers),
    ours("threadpool", &["--server", "threadpool"], POOL),
    peer("axum-hyper", "peer-axum-on-adapter", &["--server", "hyper"], Threads::Workers, AXUM),
    peer("axum-actix", "peer-axum-on-adapter", &["--server", "actix"], Threads::Workers, AXUM),
    peer("axum-smol", "peer-axum-on-adapter", &["--server", "smol"], Threads::Workers, AXUM),
    peer("axum-threadpool", "peer-axum-on-adapter", &["--server", "threadpool"], POOL, AXUM),
    peer(BASE, "peer-bare-hyper", &[], Threads::Workers, BARE),
    peer("bare-hyper-per-core", "peer-bare-hyper", &["--current-thread"], Threads::Workers, ASYNC),
    peer("axum", "peer-axum", &[], Threads::Workers, AXUM),
    peer("actix-web", "peer-actix-web", &[], Threads::Workers, ASYNC),
    peer("smol-hyper", "peer-smol-hyper", &[], Threads::Workers, ASYNC),
    peer("trillium-smol", "peer-trillium-smol", &[], Threads::Workers, ASYNC),
    peer("canned-epoll", "peer-canned", &["--mode", "epoll"], Threads::Workers, &[Hello]),
    peer("canned-blocking", "peer-canned", &["--mode", "blocking"], Threads::Workers, &[Hello]),
    peer("tiny-http", "peer-tiny-http", &[], POOL, ALL),
    peer("rouille", "peer-rouille", &[], POOL, ALL),
    peer("astra", "peer-astra", &[], POOL, &[Hello, Sleep, SleepBlocking]),
    peer("touche", "peer-touche", &[], Threads::Fixed(300), ALL),
];

/// The chat, on ours; a program of its own.
pub const CHATS: &[Subject] = &[
    chat("hyper", &["--server", "hyper"], Threads::Workers),
    chat("actix", &["--server", "actix"], Threads::Workers),
    chat("smol", &["--server", "smol"], Threads::Workers),
    chat("threadpool", &["--server", "threadpool"], POOL),
];

/// The subject that ratios under TLS are relative to.
pub const BASE_TLS: &str = "bare-hyper-tls";

const SECURE: &[Route] = &[Secure, SecureCount];

/// Ours under TLS, the base, and the field.
pub const SECURED: &[Subject] = &[
    secured("hyper", &["--server", "hyper"], Threads::Workers),
    secured("actix", &["--server", "actix"], Threads::Workers),
    secured("smol", &["--server", "smol"], Threads::Workers),
    secured("threadpool", &["--server", "threadpool"], POOL),
    peer(BASE_TLS, "peer-bare-hyper-tls", &[], Threads::Workers, SECURE),
    peer("axum-server", "peer-axum-server", &[], Threads::Workers, SECURE),
    peer("actix-web-tls", "peer-actix-web-tls", &[], Threads::Workers, SECURE),
    Subject { name: "nginx", build: Build::Nginx, arguments: &[], threads: Threads::Workers, routes: &[Secure] },
];

/// The subject that ratios in HTTP/2 are relative to.
pub const BASE_H2: &str = "bare-hyper-h2";

const HTTP2: &[Route] = &[Http2, Http2Routes];

/// Ours, where they have HTTP/2, the base, and the field.
pub const MULTIPLEXED: &[Subject] = &[
    multiplexed("hyper", &["--server", "hyper"]),
    multiplexed("actix", &["--server", "actix"]),
    multiplexed("smol", &["--server", "smol"]),
    peer(BASE_H2, "peer-bare-hyper", &["--http2"], Threads::Workers, HTTP2),
    peer("axum", "peer-axum-h2", &[], Threads::Workers, HTTP2),
    peer("actix-web", "peer-actix-web", &["--http2"], Threads::Workers, HTTP2),
    Subject { name: "nginx", build: Build::Nginx, arguments: &[], threads: Threads::Workers, routes: &[Http2] },
];

/// The subject that ratios of WebSockets are relative to.
pub const BASE_WS: &str = "trillium-tokio";

/// Ours, the base, and the field.
pub const SOCKETS: &[Subject] = &[
    socket("hyper", &["--server", "hyper"], Threads::Workers),
    socket("actix", &["--server", "actix"], Threads::Workers),
    socket("smol", &["--server", "smol"], Threads::Workers),
    socket("threadpool", &["--server", "threadpool"], POOL),
    peer(BASE_WS, "peer-trillium-tokio", &[], Threads::Workers, &[WebSocket]),
    peer("axum", "peer-axum", &[], Threads::Workers, &[WebSocket]),
    peer("actix-web", "peer-actix-web", &[], Threads::Workers, &[WebSocket]),
    peer("fastwebsockets", "peer-fastwebsockets", &[], Threads::Workers, &[WebSocket]),
    Subject { name: "uvicorn", build: Build::Uvicorn, arguments: &[], threads: Threads::Workers, routes: &[WebSocket] },
];

/// Those that serve a folder: ours, and the field.
pub const FOLDERS: &[Subject] = &[
    folder("hyper", &["--server", "hyper"], Threads::Workers),
    folder("actix", &["--server", "actix"], Threads::Workers),
    folder("smol", &["--server", "smol"], Threads::Workers),
    folder("threadpool", &["--server", "threadpool"], POOL),
    Subject { name: "nginx", build: Build::Nginx, arguments: &[], threads: Threads::Workers, routes: &[Files] },
    peer("axum", "peer-axum-files", &[], Threads::Workers, &[Files]),
    peer("actix-web", "peer-actix-files", &[], Threads::Workers, &[Files]),
];

const fn folder(name: &'static str, arguments: &'static [&'static str], threads: Threads) -> Subject {
    Subject { name, build: Build::Example("files"), arguments, threads, routes: &[Files] }
}

const fn socket(name: &'static str, arguments: &'static [&'static str], threads: Threads) -> Subject {
    Subject { name, build: Build::Example("testbed"), arguments, threads, routes: &[WebSocket] }
}

const fn multiplexed(name: &'static str, arguments: &'static [&'static str]) -> Subject {
    Subject { name, build: Build::Example("testbed"), arguments, threads: Threads::Workers, routes: HTTP2 }
}

const fn secured(name: &'static str, arguments: &'static [&'static str], threads: Threads) -> Subject {
    Subject { name, build: Build::Secured("testbed"), arguments, threads, routes: SECURE }
}

const fn ours(name: &'static str, arguments: &'static [&'static str], threads: Threads) -> Subject {
    Subject { name, build: Build::Example("testbed"), arguments, threads, routes: OURS }
}

const fn chat(name: &'static str, arguments: &'static [&'static str], threads: Threads) -> Subject {
    Subject { name, build: Build::Example("chat"), arguments, threads, routes: &[Chat] }
}

const fn peer(
    name: &'static str,
    package: &'static str,
    arguments: &'static [&'static str],
    threads: Threads,
    routes: &'static [Route],
) -> Subject {
    Subject { name, build: Build::Peer(package), arguments, threads, routes }
}

impl Subject {
    pub fn has(&self, route: Route) -> bool {
        self.routes.contains(&route)
    }

    /// The arguments it is started with; `scratch` is for files that it needs.
    pub fn arguments(
        &self,
        port: u16,
        threads: usize,
        identity: Option<&Identity>,
        scratch: &Path,
    ) -> Result<Vec<String>, String> {
        let folder = scratch.join(FOLDER);
        if self.build == Build::Nginx {
            let site = match identity {
                Some(identity) => Site::Secured(identity),
                None if self.has(Http2) => Site::Multiplexed,
                None => Site::Folder(&folder),
            };
            return nginx::arguments(port, threads, site, scratch);
        }
        if self.build == Build::Uvicorn {
            return Ok(uvicorn::arguments(port, threads));
        }
        let mut arguments: Vec<String> = self.arguments.iter().map(ToString::to_string).collect();
        arguments.extend(match self.build {
            Build::Peer(_) | Build::Nginx | Build::Uvicorn => ["--port".into(), port.to_string()],
            Build::Example(_) | Build::Secured(_) => ["--bind".into(), format!("127.0.0.1:{port}")],
        });
        arguments.extend(["--threads".into(), threads.to_string()]);
        for (flag, file) in identity.iter().flat_map(|identity| identity.files()) {
            arguments.extend([flag.into(), file.display().to_string()]);
        }
        if self.has(Files) {
            // The example has it without a flag.
            arguments.extend(matches!(self.build, Build::Peer(_)).then(|| "--folder".into()));
            arguments.push(folder.display().to_string());
        }
        Ok(arguments)
    }
}

/// The names a server can be asked for by, each once.
pub fn names() -> Vec<&'static str> {
    let plain = SUBJECTS.iter().map(|subject| subject.name);
    let others = SECURED.iter().chain(MULTIPLEXED).chain(SOCKETS).chain(FOLDERS).map(|subject| subject.name);
    let mut names: Vec<_> = plain.collect();
    for name in others {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// A subject with its program, or the reason why there is none.
pub struct Built {
    pub subject: &'static Subject,
    pub program: Result<PathBuf, String>,
}

/// Builds each program once, one after the other: separate builds keep one peer's features out of another's.
pub fn build(subjects: Vec<&'static Subject>) -> Vec<Built> {
    let mut programs: HashMap<Build, Result<PathBuf, String>> = HashMap::new();
    let built = subjects.into_iter().map(|subject| {
        let program = programs.entry(subject.build).or_insert_with(|| subject.build.run()).clone();
        Built { subject, program }
    });
    built.collect()
}

impl Build {
    fn run(self) -> Result<PathBuf, String> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["build", "--release", "--message-format", "json-render-diagnostics"]);
        match self {
            Build::Peer(package) => {
                eprintln!("building {package}");
                cargo.args(["--package", package, "--manifest-path"]).arg(here.join("Cargo.toml"));
            }
            Build::Example(example) => {
                eprintln!("building the example {example}");
                cargo.args(["--example", example, "--manifest-path"]).arg(here.join("../Cargo.toml"));
            }
            // A build in the same place would replace the plain one.
            Build::Secured(example) => {
                eprintln!("building the example {example} with TLS");
                cargo.args(["--package", "adapter-web", "--features", "tls", "--example", example]);
                cargo.arg("--target-dir").arg(here.join("target/secured"));
                cargo.arg("--manifest-path").arg(here.join("../Cargo.toml"));
            }
            Build::Nginx => return nginx::find(),
            Build::Uvicorn => return uvicorn::find(here),
        }
        let output = cargo.stdin(Stdio::null()).output().map_err(|error| format!("cannot run cargo: {error}"))?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            let reason = text.lines().find(|line| line.starts_with("error")).unwrap_or("cargo failed");
            return Err(format!("does not build: {reason}"));
        }
        let messages = String::from_utf8_lossy(&output.stdout);
        let mut executables = messages.lines().filter_map(|line| {
            let message: serde_json::Value = serde_json::from_str(line).ok()?;
            Some(PathBuf::from(message.get("executable")?.as_str()?))
        });
        executables.next_back().ok_or_else(|| "does not build: cargo named no executable".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_the_base_is_one() {
        let bases =
            [(SUBJECTS, BASE), (SECURED, BASE_TLS), (MULTIPLEXED, BASE_H2), (SOCKETS, BASE_WS), (FOLDERS, "nginx")];
        for (subjects, base) in bases {
            let mut names: Vec<_> = subjects.iter().map(|subject| subject.name).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), subjects.len());
            assert!(names.contains(&base));
        }
    }
}
