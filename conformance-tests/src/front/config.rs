//! Configurations: what a client sends is passed on as it comes, and what an application sends goes out as it is sent.

use std::net::SocketAddr;
use std::path::Path;

use adapter_core::ListenAddr;

use super::Upstream;

/// Modules of Apache httpd, where Debian has them.
const MODULES: &str = "/usr/lib/apache2/modules";

/// What a configuration is made for.
pub(super) struct Terms<'t> {
    /// What is spoken with the gateway.
    pub(super) protocol: &'t str,
    /// Where clients are waited for.
    pub(super) address: SocketAddr,
    /// The gateway.
    pub(super) to: Upstream<'t>,
    /// For what the web server needs on its way.
    pub(super) folder: &'t Path,
}

impl Terms<'_> {
    /// The gateway's address, with `unix` in front of a path.
    fn upstream(&self, unix: &str) -> String {
        match self.to {
            Upstream::Listens(ListenAddr::Unix(path)) => format!("{unix}{}", path.display()),
            Upstream::Listens(other) => other.to_string(),
            Upstream::Program(path) => path.display().to_string(),
        }
    }
}

pub(super) fn nginx(terms: &Terms<'_>) -> String {
    let Terms { protocol, address, folder, .. } = terms;
    let (to, folder) = (terms.upstream("unix:"), folder.display());
    #[cfg(unix)]
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    #[cfg(not(unix))]
    let user = "";
    let keep = if *protocol == "fastcgi" { "fastcgi_keep_conn on;" } else { "" };
    let mut params = String::new();
    for (name, value) in [
        ("REQUEST_METHOD", "$request_method"),
        ("REQUEST_URI", "$request_uri"),
        ("CONTENT_LENGTH", "$content_length"),
        ("CONTENT_TYPE", "$content_type"),
        ("SERVER_PROTOCOL", "$server_protocol"),
        ("REQUEST_SCHEME", "$scheme"),
        ("REMOTE_ADDR", "$remote_addr"),
        ("REMOTE_PORT", "$remote_port"),
        ("SERVER_ADDR", "$server_addr"),
        ("SERVER_PORT", "$server_port"),
        ("SERVER_NAME", "$server_name"),
        ("HTTPS", "$https if_not_empty"),
        ("REMOTE_USER", "somebody"),
    ] {
        params.push_str(&format!("{protocol}_param {name} {value};\n"));
    }
    format!(
        "{user} worker_processes 1; worker_rlimit_nofile 16384; pid nginx.pid; error_log stderr;\n\
         events {{ worker_connections 8192; }}\nhttp {{\n\
         access_log off; client_max_body_size 0; underscores_in_headers on; server_tokens off;\n\
         large_client_header_buffers 8 32k; keepalive_requests 100000; keepalive_timeout 3600;\n\
         client_body_temp_path {folder}/b; proxy_temp_path {folder}/p;\n\
         uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s; fastcgi_temp_path {folder}/f;\n\
         upstream app {{ server {to}; keepalive 4; }}\n\
         server {{ listen {address} backlog=1024 sndbuf=128k rcvbuf=128k; location / {{\n\
         {protocol}_pass app; {protocol}_buffering off; {protocol}_buffer_size 64k; {protocol}_buffers 8 64k;\n\
         {protocol}_request_buffering off; {keep}\n\
         {protocol}_read_timeout 3600; {protocol}_send_timeout 3600;\n{params}}} }} }}\n"
    )
}

/// The module of Apache httpd for a protocol.
pub(super) fn apache_module(protocol: &str) -> Option<&'static str> {
    match protocol {
        "fastcgi" => Some("proxy_fcgi"),
        "scgi" => Some("proxy_scgi"),
        "uwsgi" => Some("proxy_uwsgi"),
        "cgi" => Some("cgid"),
        _ => None,
    }
}

/// Whether Apache httpd has it.
pub(super) fn apache_has(module: &str) -> bool {
    Path::new(&format!("{MODULES}/mod_{module}.so")).is_file()
}

pub(super) fn apache(terms: &Terms<'_>) -> String {
    let Terms { protocol, address, folder, .. } = terms;
    let module = apache_module(protocol).unwrap_or_default();
    let folder = folder.display();
    let mut modules = vec!["mpm_event", "authz_core", "env", module];
    let place = if *protocol == "cgi" {
        modules.push("alias");
        format!("ScriptSock {folder}/cgid\nScriptAlias / {}/\n", terms.upstream(""))
    } else {
        modules.insert(3, "proxy");
        let scheme = module.trim_start_matches("proxy_");
        let to = match terms.to {
            Upstream::Listens(ListenAddr::Unix(_)) => format!("{}|{scheme}://localhost", terms.upstream("unix:")),
            _ => format!("{scheme}://{}", terms.upstream("")),
        };
        let canon = if *protocol == "fastcgi" { "" } else { "nocanon" };
        format!("ProxyPass / \"{to}/\" {canon} flushpackets=on\n")
    };
    let modules: String =
        modules.iter().map(|name| format!("LoadModule {name}_module {MODULES}/mod_{name}.so\n")).collect();
    format!(
        "ServerRoot {folder}\nServerName localhost\nListen {address}\nPidFile {folder}/pid\nErrorLog {folder}/errors\n\
         DefaultRuntimeDir {folder}\n{modules}\
         StartServers 1\nServerLimit 1\nThreadsPerChild 400\nThreadLimit 400\nMaxRequestWorkers 400\nMaxSpareThreads 400\n\
         MaxKeepAliveRequests 0\nKeepAliveTimeout 3600\nTimeout 3600\n\
         LimitRequestFieldSize 65536\nLimitRequestLine 65536\nUseCanonicalPhysicalPort On\n\
         SetEnv ap_trust_cgilike_cl 1\nSetEnv REMOTE_USER somebody\nAllowEncodedSlashes NoDecode\n{place}"
    )
}

pub(super) fn lighttpd(terms: &Terms<'_>) -> String {
    let Terms { protocol, address, folder, .. } = terms;
    let to = match terms.to {
        Upstream::Listens(ListenAddr::Tcp(to)) => format!("\"host\" => \"{}\", \"port\" => {}", to.ip(), to.port()),
        _ => format!("\"socket\" => \"{}\"", terms.upstream("")),
    };
    let folder = folder.display();
    format!(
        "server.document-root = \"{folder}\"\nserver.bind = \"{}\"\nserver.port = {}\n\
         server.errorlog = \"{folder}/errors\"\nserver.upload-dirs = (\"{folder}\")\n\
         server.modules = (\"mod_{protocol}\")\n\
         server.stream-response-body = 2\nserver.max-keep-alive-requests = 60000\n\
         {protocol}.server = (\"/\" => ((\"check-local\" => \"disable\", \"fix-root-scriptname\" => \"enable\", {to})))\n",
        address.ip(),
        address.port(),
    )
}

pub(super) fn haproxy(terms: &Terms<'_>) -> String {
    let (address, to, folder) = (terms.address, terms.upstream("unix@"), terms.folder.display());
    format!(
        "global\n  maxconn 2000\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n  option abortonclose\n\
         fcgi-app app\n  docroot {folder}\n  option keep-conn\n  option get-values\n\
         frontend clients\n  bind {address}\n  default_backend applications\n\
         backend applications\n  use-fcgi-app app\n  server app {to} proto fcgi\n"
    )
}

pub(super) fn caddy(terms: &Terms<'_>) -> String {
    let (host, port) = (terms.address.ip(), terms.address.port());
    let (to, folder) = (terms.upstream("unix/"), terms.folder.display());
    format!(
        "{{\n  admin off\n  auto_https off\n}}\n\
         http://:{port} {{\n  bind {host}\n  reverse_proxy {to} {{\n    flush_interval -1\n    \
         transport fastcgi {{\n      root {folder}\n    }}\n  }}\n}}\n"
    )
}
