//! Real web servers in front of an application: nginx, Apache httpd, lighttpd, HAProxy and Caddy, by whatever they speak of CGI, FastCGI,
//! SCGI and uwsgi, over TCP and Unix-domain sockets.
//!
//! Where one is not installed, its cases are ignored and say so. This program is also the one that CGI starts for each request.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use adapter_core::http::StatusCode;
use adapter_core::signal::Signal;
use adapter_core::{
    Application, BlockingBody, Body, Bytes, DynApplication, Environ, Error, Request, Response, Server, ServerConfig,
    ServerInfo, blocking,
};
use adapter_gateway::{CgiServer, FastCgiServer, ScgiServer, UwsgiServer, Variables};
use conformance_tests::front::{Front, KINDS, Kind, Upstream};
use libtest_mimic::{Arguments, Trial};

const PATIENCE: Duration = Duration::from_secs(20);
/// Names the folder of gates in the environment of a process that is to answer one request.
const CGI: &str = "ADAPTER_GATEWAY_CGI";

/// What the test and its application share.
#[derive(Clone, Default)]
struct Shared {
    /// Told when the handler of `/hang` runs, and when it is dropped.
    hanging: Option<Sender<&'static str>>,
    /// A socket whose end lets the second half of a stream go, whatever process it is in.
    gate: PathBuf,
}

impl Shared {
    fn gate(&self) -> Signal {
        let (signal, mut gate) = (Signal::new(), UnixStream::connect(&self.gate).unwrap());
        let fired = signal.clone();
        std::thread::spawn(move || {
            let _ = gate.read_to_end(&mut Vec::new());
            fired.fire();
        });
        signal
    }
}

fn shout(request: Request<BlockingBody>, _environ: Environ) -> Result<Response, Error> {
    let chunks = request.into_body().chunks().map(|chunk| Ok::<_, Error>(chunk?.to_ascii_uppercase()));
    Ok(Response::new(Body::from_iterator(chunks)))
}

fn application(shared: Shared) -> DynApplication {
    let blocks = DynApplication::new(blocking(shout));
    DynApplication::new(move |request: Request, environ: Environ| {
        let (shared, blocks) = (shared.clone(), blocks.clone());
        async move {
            let path = environ.path_info(request.uri().path()).to_owned();
            match path.as_str() {
                "/stream" => {
                    let gate = shared.gate();
                    let rest = futures_lite::stream::once_future(async move {
                        gate.fired().await;
                        Ok::<_, Error>("second")
                    });
                    let first = futures_lite::stream::once(Ok("first"));
                    Ok(Response::new(Body::from_stream(futures_lite::StreamExt::chain(first, rest))))
                }
                "/hang" => {
                    struct Gone(Sender<&'static str>);
                    impl Drop for Gone {
                        fn drop(&mut self) {
                            let _ = self.0.send("dropped");
                        }
                    }
                    let told = shared.hanging.clone().expect("somebody waits for it");
                    let _ = told.send("called");
                    let _gone = Gone(told);
                    std::future::pending().await
                }
                "/broken" => {
                    let pieces = [Ok("some of it".to_owned()), Err(Error::new("it broke"))];
                    Ok(Response::new(Body::from_stream(futures_lite::stream::iter(pieces))))
                }
                "/size" => {
                    let mut body = request.into_body();
                    let mut count = 0_u64;
                    while let Some(chunk) = body.chunk().await {
                        count += chunk?.len() as u64;
                    }
                    Ok(Response::new(Body::from(count.to_string())))
                }
                "/shout" => blocks.call(request, environ).await,
                "/fails" => Err(Error::new("on purpose").with_status(StatusCode::IM_A_TEAPOT)),
                "/large" => Ok(Response::new(Body::from(Bytes::from(vec![b'x'; 3_000_000])))),
                "/nothing" => Ok(Response::builder().status(204).body(Body::empty())?),
                _ => {
                    let user =
                        request.extensions().get::<Variables>().and_then(|variables| variables.get("REMOTE_USER"));
                    let told = format!(
                        "{} {} peer={} scheme={} user={} x={:?} proxy={:?}",
                        request.method(),
                        request.uri(),
                        environ.peer_addr().is_some_and(|peer| peer.ip().is_loopback()),
                        environ.scheme(),
                        String::from_utf8_lossy(user.unwrap_or_default()),
                        request.headers().get("x-test"),
                        request.headers().get("proxy"),
                    );
                    Ok(Response::builder().header("x-answer", "yes").header("status", "599").body(Body::from(told))?)
                }
            }
        }
    })
}

/// A response as far as it came: status, head, body, and whether that is whole.
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
    is_whole: bool,
}

fn connect(addr: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(addr).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn ask(addr: SocketAddr, head: &str, body: &[u8]) -> Answer {
    answer(&octets(addr, head, body))
}

/// All that comes.
fn octets(addr: SocketAddr, head: &str, body: &[u8]) -> Vec<u8> {
    let mut socket = connect(addr);
    socket.write_all(format!("{head}\r\nhost: app.example\r\nconnection: close\r\n\r\n").as_bytes()).unwrap();
    // A web server that answers before it has all of it may close.
    let _ = socket.write_all(body);
    let mut octets = Vec::new();
    let _ = socket.read_to_end(&mut octets);
    octets
}

fn answer(octets: &[u8]) -> Answer {
    let end = octets.windows(4).position(|window| window == b"\r\n\r\n");
    let end = end.unwrap_or_else(|| panic!("no whole head: {:?}", String::from_utf8_lossy(octets)));
    let head = String::from_utf8_lossy(&octets[..end]).to_lowercase();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let raw = &octets[end + 4..];
    let (mut body, mut is_whole) = (raw.to_vec(), true);
    if head.contains("transfer-encoding: chunked") {
        (body, is_whole) = (Vec::new(), false);
        let mut rest = raw;
        while let Some(line) = rest.windows(2).position(|window| window == b"\r\n") {
            let size = usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap().trim(), 16).unwrap_or(0);
            let Some(chunk) = rest.get(line + 2..line + 2 + size) else { break };
            body.extend_from_slice(chunk);
            is_whole = size == 0;
            let Some(behind) = rest.get(line + 4 + size..) else { break };
            rest = behind;
        }
    } else if let Some(length) = head.lines().find_map(|line| line.strip_prefix("content-length: ")) {
        is_whole = body.len() == length.trim().parse::<usize>().unwrap();
    }
    Answer { status, head, body, is_whole }
}

fn text(answer: &Answer) -> &str {
    std::str::from_utf8(&answer.body).unwrap()
}

fn cases(
    kind: Kind,
    protocol: &str,
    user: &str,
    addr: SocketAddr,
    gate: &UnixListener,
    hanging: &Receiver<&'static str>,
) {
    let plain = ask(addr, "GET /a%20b/%C3%A4?c=%20d HTTP/1.1\r\nx-test: 1\r\nproxy: evil", b"");
    assert_eq!(plain.status, 200, "{}", plain.head);
    // [GWY-08] the user is a variable
    assert_eq!(
        text(&plain),
        format!("GET /a%20b/%C3%A4?c=%20d peer=true scheme=http user={user} x=Some(\"1\") proxy=None")
    );
    assert!(plain.head.contains("x-answer: yes") && plain.is_whole, "{}", plain.head);

    let head = ask(addr, "HEAD /x HTTP/1.1", b"");
    assert!(head.status == 200 && head.body.is_empty(), "{}", head.head);
    assert_eq!(ask(addr, "GET /nothing HTTP/1.1", b"").status, 204);
    assert_eq!(ask(addr, "GET /fails HTTP/1.1", b"").status, 418);

    let large = ask(addr, "GET /large HTTP/1.1", b"");
    assert!(large.is_whole && large.body.len() == 3_000_000, "{} of {}", large.body.len(), large.head);

    let upload = vec![b'a'; 5_000_000];
    let sized = ask(addr, &format!("POST /size HTTP/1.1\r\ncontent-length: {}", upload.len()), &upload);
    assert_eq!(text(&sized), "5000000");
    let mut chunked = format!("{:x}\r\n", upload.len()).into_bytes();
    chunked.extend_from_slice(&upload);
    chunked.extend_from_slice(b"\r\n0\r\n\r\n");
    let chunked = octets(addr, "POST /size HTTP/1.1\r\ntransfer-encoding: chunked", &chunked);
    if kind == Kind::Apache && protocol != "fastcgi" {
        // Its own answer, or that of our CGI, which a client that goes on sending may miss: a body wants a length.
        assert!(chunked.is_empty() || answer(&chunked).status == 411);
    } else if kind == Kind::Haproxy {
        assert_eq!(answer(&chunked).status, 400, "its own answer to a chunked body larger than its buffer");
    } else {
        let chunked = answer(&chunked);
        assert_eq!((chunked.status, text(&chunked)), (200, "5000000"));
    }
    let shouted = ask(addr, "POST /shout HTTP/1.1\r\ncontent-length: 5", b"hello");
    assert_eq!(text(&shouted), "HELLO");

    // What is there is sent, and does not wait for the rest.
    let mut socket = connect(addr);
    socket.write_all(b"GET /stream HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
    let mut seen = Vec::new();
    let mut piece = [0; 1024];
    while !seen.windows(5).any(|window| window == b"first") {
        let count = socket.read(&mut piece).unwrap();
        assert!(count > 0, "the first piece comes while the second one waits");
        seen.extend_from_slice(&piece[..count]);
    }
    assert!(!seen.windows(6).any(|window| window == b"second"));
    drop(gate.accept().unwrap());
    socket.read_to_end(&mut seen).unwrap();
    assert!(answer(&seen).is_whole && answer(&seen).body.ends_with(b"second"));

    // A client that leaves is noticed, as far as the web server passes that on.
    if matches!(kind, Kind::Nginx | Kind::Haproxy) {
        let mut socket = connect(addr);
        socket.write_all(b"GET /hang HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
        assert_eq!(hanging.recv_timeout(PATIENCE), Ok("called"));
        drop(socket);
        assert_eq!(hanging.recv_timeout(PATIENCE), Ok("dropped"), "the handler goes on for nobody");
    }

    // [GWY-05] By SCGI and CGI there is no way to tell. Some web servers throw away what they have; lighttpd takes what came before its client has the
    // head for all of it, and Caddy whatever came.
    let broken = octets(addr, "GET /broken HTTP/1.1", b"");
    if protocol == "fastcgi" && !matches!(kind, Kind::Lighttpd | Kind::Caddy) && !broken.is_empty() {
        let broken = answer(&broken);
        assert!(!broken.is_whole || broken.status >= 500, "a broken answer looks whole: {}", broken.head);
    }
    // Whatever became of the connection, the next one is served.
    assert_eq!(ask(addr, "GET /x HTTP/1.1", b"").status, 200);
}

fn run(kind: Kind, protocol: &'static str, unix: bool) {
    let folder = tempfile::tempdir().unwrap();
    let gate = folder.path().join("gate");
    let listener = UnixListener::bind(&gate).unwrap();
    let (sender, hanging) = mpsc::channel();
    let shared = Shared { hanging: Some(sender), gate: gate.clone() };
    if protocol == "cgi" {
        let program = folder.path().join("program");
        let own = std::env::current_exe().unwrap();
        fs::write(&program, format!("#!/bin/sh\nexport {CGI}={}\nexec {}\n", gate.display(), own.display())).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let front = Front::start(kind, protocol, Upstream::Program(&program)).unwrap();
        return cases(kind, protocol, "somebody", front.address, &listener, &hanging);
    }
    let path = folder.path().join("app.sock");
    let bind = if unix { format!("unix:{}", path.display()) } else { "127.0.0.1:0".to_owned() };
    let config = ServerConfig::default().threads(2).bind(bind.parse().unwrap());
    let server: &dyn Server = match protocol {
        "fastcgi" => &FastCgiServer,
        "scgi" => &ScgiServer,
        _ => &UwsgiServer,
    };
    let handle = server.start(application(shared), config).unwrap();
    let front = Front::start(kind, protocol, Upstream::Listens(&handle.local_addrs()[0])).unwrap();
    let user = if matches!(kind, Kind::Nginx | Kind::Apache) { "somebody" } else { "" };
    cases(kind, protocol, user, front.address, &listener, &hanging);
    drop(front);
    handle.stop().unwrap();
}

/// Tells of its hooks where they run, and of what the process is in its answer.
struct Hooked;

impl Application for Hooked {
    async fn call(&self, request: Request, environ: Environ) -> Result<Response, Error> {
        eprintln!("called");
        let told = environ.server().concurrency;
        let size = request.into_body().bytes(100).await?.len();
        Ok(Response::new(Body::from(format!("{} {} {size}", told.run_once, told.multiprocess))))
    }

    async fn startup(&self, _server: &ServerInfo) -> Result<(), Error> {
        eprintln!("startup");
        Ok(())
    }

    async fn shutdown(&self) -> Result<(), Error> {
        eprintln!("shutdown");
        Ok(())
    }
}

/// \[GWY-10\], \[GWY-11\]
fn a_process_serves_one_request() {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env_clear().env(CGI, "hooks").env("HTTP_HOST", "a").env("REQUEST_METHOD", "POST");
    command.env("REQUEST_URI", "/").env("CONTENT_LENGTH", "5");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    let mut input = process.stdin.take().unwrap();
    // Some web servers do not close it.
    input.write_all(b"hello, and more").unwrap();
    let output = process.wait_with_output().unwrap();
    drop(input);
    let answer = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(answer.starts_with("Status: 200 OK\r\n") && answer.ends_with("\r\n\r\ntrue true 5"), "{answer}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "startup\ncalled\nshutdown\n");
    assert!(output.status.success());
}

/// The configuration that is there to be copied.
const DEPLOYED: &str = include_str!("../../../examples/deploy/nginx-fastcgi.conf");

fn deployed() {
    let folder = tempfile::tempdir().unwrap();
    let (gate, path) = (folder.path().join("gate"), folder.path().join("app.sock"));
    let listener = UnixListener::bind(&gate).unwrap();
    let (sender, hanging) = mpsc::channel();
    let config = ServerConfig::default().bind(format!("unix:{}", path.display()).parse().unwrap());
    let handle = FastCgiServer.start(application(Shared { hanging: Some(sender), gate }), config).unwrap();
    let front = Front::configured(Kind::Nginx, |address, own| {
        let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
        let mut paths = String::from("http {");
        for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
            paths.push_str(&format!(" {kind}_temp_path {}/{kind};", own.display()));
        }
        let config = DEPLOYED.replace("/run/app.sock", &path.display().to_string());
        let config = config.replace("127.0.0.1:8000", &address.to_string()).replace("http {", &paths);
        format!("{user} pid nginx.pid; error_log stderr;\n{config}")
    })
    .unwrap();
    cases(Kind::Nginx, "fastcgi", "", front.address, &listener, &hanging);
    drop(front);
    handle.stop().unwrap();
}

fn main() -> ExitCode {
    if let Some(gate) = std::env::var_os(CGI) {
        let application = if gate == "hooks" {
            DynApplication::new(Hooked)
        } else {
            application(Shared { hanging: None, gate: gate.into() })
        };
        let handle = CgiServer.start(application, ServerConfig::default()).unwrap();
        handle.wait().unwrap();
        return ExitCode::SUCCESS;
    }
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for (protocol, kind) in ["fastcgi", "scgi", "uwsgi", "cgi"]
        .into_iter()
        .flat_map(|protocol| KINDS.iter().map(move |kind| (protocol, *kind)))
    {
        let missing = kind.missing(protocol);
        if missing.as_ref().is_some_and(|missing| missing.contains("does not speak")) {
            continue;
        }
        if let Some(reason) = &missing
            && !arguments.list
        {
            eprintln!("behind: ignored, {reason}");
        }
        for (place, unix) in [("tcp", false), ("unix", true)].into_iter().take(if protocol == "cgi" { 1 } else { 2 }) {
            let place = if protocol == "cgi" { "process" } else { place };
            let name = format!("{protocol}::{}::{place}", kind.name());
            trials.push(match missing.clone() {
                None => Trial::test(name, move || {
                    run(kind, protocol, unix);
                    Ok(())
                }),
                Some(reason) => Trial::test(name, || Ok(())).with_kind(reason).with_ignored_flag(!arguments.list),
            });
        }
    }
    trials.push(Trial::test("cgi::process", || {
        a_process_serves_one_request();
        Ok(())
    }));
    let missing = Kind::Nginx.missing("fastcgi");
    trials.push(match missing {
        None => Trial::test("deploy::nginx-fastcgi", || {
            deployed();
            Ok(())
        }),
        Some(reason) => {
            Trial::test("deploy::nginx-fastcgi", || Ok(())).with_kind(reason).with_ignored_flag(!arguments.list)
        }
    });
    libtest_mimic::run(&arguments, trials).exit_code()
}
