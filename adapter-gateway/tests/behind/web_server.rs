//! Web servers in front of an application, with configurations of the test's own.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use adapter_core::ListenAddr;

const PATIENCE: Duration = Duration::from_secs(15);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Nginx,
    Apache,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    FastCgi,
    Scgi,
}

impl Protocol {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Protocol::FastCgi => "fastcgi",
            Protocol::Scgi => "scgi",
        }
    }
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Nginx => "nginx",
            Kind::Apache => "apache2",
        }
    }

    fn program(self) -> Option<String> {
        let found = ["/usr/sbin", "/usr/bin", "/usr/local/sbin"].map(|folder| format!("{folder}/{}", self.name()));
        found.into_iter().find(|path| Path::new(path).is_file())
    }

    /// Why it can't be used here.
    pub(crate) fn missing(self) -> Option<String> {
        self.program().is_none().then(|| format!("{} is not installed", self.name()))
    }

    fn config(self, protocol: Protocol, addr: SocketAddr, upstream: &ListenAddr, folder: &Path) -> String {
        let folder = folder.display();
        match self {
            Kind::Nginx => {
                let name = protocol.name();
                let to = match upstream {
                    ListenAddr::Unix(path) => format!("unix:{}", path.display()),
                    other => other.to_string(),
                };
                let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
                // Buffers off, so that what the application sends is seen as it is sent; kept connections where there are some.
                let more = match protocol {
                    Protocol::FastCgi => "fastcgi_keep_conn on; fastcgi_request_buffering off;",
                    Protocol::Scgi => "scgi_request_buffering on;",
                };
                format!(
                    "{user} worker_processes 1; pid nginx.pid; error_log stderr;\nevents {{}}\nhttp {{\n\
                     access_log off; client_max_body_size 0; underscores_in_headers on;\n\
                     client_body_temp_path {folder}/b; proxy_temp_path {folder}/p;\n\
                     uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s; fastcgi_temp_path {folder}/f;\n\
                     upstream app {{ server {to}; keepalive 4; }}\n\
                     server {{ listen {addr}; location / {{ {name}_pass app; {name}_buffering off; {more}\n\
                     {name}_param REQUEST_METHOD $request_method; {name}_param REQUEST_URI $request_uri;\n\
                     {name}_param CONTENT_LENGTH $content_length; {name}_param CONTENT_TYPE $content_type;\n\
                     {name}_param SERVER_PROTOCOL $server_protocol; {name}_param REMOTE_ADDR $remote_addr;\n\
                     {name}_param REMOTE_PORT $remote_port; {name}_param SERVER_ADDR $server_addr;\n\
                     {name}_param SERVER_PORT $server_port; {name}_param HTTPS $https if_not_empty;\n\
                     {name}_param REMOTE_USER somebody; }} }} }}\n"
                )
            }
            Kind::Apache => {
                let scheme = if protocol == Protocol::FastCgi { "fcgi" } else { "scgi" };
                let to = match upstream {
                    ListenAddr::Unix(path) => format!("unix:{}|{scheme}://localhost", path.display()),
                    other => format!("{scheme}://{other}"),
                };
                let modules = "/usr/lib/apache2/modules";
                let canon = if protocol == Protocol::FastCgi { "" } else { "nocanon" };
                format!(
                    "ServerRoot {folder}\nServerName localhost\nListen {addr}\nPidFile {folder}/pid\nErrorLog {folder}/errors\n\
                     DefaultRuntimeDir {folder}\n\
                     LoadModule mpm_event_module {modules}/mod_mpm_event.so\n\
                     LoadModule authz_core_module {modules}/mod_authz_core.so\n\
                     LoadModule proxy_module {modules}/mod_proxy.so\n\
                     LoadModule proxy_{scheme}_module {modules}/mod_proxy_{scheme}.so\n\
                     AllowEncodedSlashes NoDecode\nProxyPass / \"{to}/\" {canon} flushpackets=on\n"
                )
            }
        }
    }
}

/// Ended when it is dropped.
pub(crate) struct WebServer {
    pub(crate) addr: SocketAddr,
    process: Child,
}

impl WebServer {
    pub(crate) fn start(kind: Kind, protocol: Protocol, upstream: &ListenAddr, folder: &Path) -> Self {
        // The port is free now; who takes it meanwhile makes the next one be tried.
        (0..5).find_map(|_| Self::try_start(kind, protocol, upstream, folder)).expect("it starts")
    }

    fn try_start(kind: Kind, protocol: Protocol, upstream: &ListenAddr, folder: &Path) -> Option<Self> {
        let addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let path = folder.join("config");
        fs::write(&path, kind.config(protocol, addr, upstream, folder)).unwrap();
        let log = fs::File::create(folder.join("log")).unwrap();
        let mut command = Command::new(kind.program().unwrap());
        match kind {
            Kind::Nginx => {
                command.arg("-p").arg(folder).arg("-c").arg(&path).args(["-e", "stderr", "-g", "daemon off;"])
            }
            Kind::Apache => command.arg("-DFOREGROUND").arg("-f").arg(&path),
        };
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let mut server = WebServer { addr, process: command.spawn().unwrap() };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(addr).is_err() {
            if server.process.try_wait().unwrap().is_some() || Instant::now() > deadline {
                println!("{}", fs::read_to_string(folder.join("log")).unwrap_or_default());
                return None;
            }
            thread::sleep(Duration::from_millis(20));
        }
        Some(server)
    }
}

impl Drop for WebServer {
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
