//! Configurations: what a client sends is passed on as it comes, and what an application sends goes out as it is sent.

use std::net::SocketAddr;
use std::path::Path;

use adapter_core::ListenAddr;

/// Modules of Apache httpd, where Debian has them.
const MODULES: &str = "/usr/lib/apache2/modules";

fn cannot(name: &str, protocol: &str) -> Result<(), String> {
    Err(format!("{name} does not speak {protocol}"))
}

pub(super) fn nginx_speaks(protocol: &str) -> Result<(), String> {
    if matches!(protocol, "fastcgi" | "scgi" | "uwsgi") { Ok(()) } else { cannot("nginx", protocol) }
}

pub(super) fn nginx(protocol: &str, address: SocketAddr, to: &ListenAddr, folder: &Path) -> String {
    let to = match to {
        ListenAddr::Unix(path) => format!("unix:{}", path.display()),
        other => other.to_string(),
    };
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    let keep = if protocol == "fastcgi" { "fastcgi_keep_conn on;" } else { "" };
    let folder = folder.display();
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
         {protocol}_pass app; {protocol}_buffering off; {protocol}_buffer_size 64k; {protocol}_buffers 8 64k; {protocol}_request_buffering off; {keep}\n\
         {protocol}_read_timeout 3600; {protocol}_send_timeout 3600;\n{params}}} }} }}\n"
    )
}

fn apache_scheme(protocol: &str) -> Option<&'static str> {
    match protocol {
        "fastcgi" => Some("fcgi"),
        "scgi" => Some("scgi"),
        "uwsgi" => Some("uwsgi"),
        _ => None,
    }
}

pub(super) fn apache_speaks(protocol: &str) -> Result<(), String> {
    let Some(scheme) = apache_scheme(protocol) else { return cannot("apache2", protocol) };
    let module = format!("{MODULES}/mod_proxy_{scheme}.so");
    if Path::new(&module).is_file() { Ok(()) } else { Err(format!("mod_proxy_{scheme} is not installed")) }
}

pub(super) fn apache(protocol: &str, address: SocketAddr, to: &ListenAddr, folder: &Path) -> String {
    let scheme = apache_scheme(protocol).unwrap_or_default();
    let to = match to {
        ListenAddr::Unix(path) => format!("unix:{}|{scheme}://localhost", path.display()),
        other => format!("{scheme}://{other}"),
    };
    let canon = if protocol == "fastcgi" { "" } else { "nocanon" };
    let folder = folder.display();
    format!(
        "ServerRoot {folder}\nServerName localhost\nListen {address}\nPidFile {folder}/pid\nErrorLog {folder}/errors\n\
         DefaultRuntimeDir {folder}\n\
         LoadModule mpm_event_module {MODULES}/mod_mpm_event.so\n\
         LoadModule authz_core_module {MODULES}/mod_authz_core.so\n\
         LoadModule env_module {MODULES}/mod_env.so\n\
         LoadModule proxy_module {MODULES}/mod_proxy.so\n\
         LoadModule proxy_{scheme}_module {MODULES}/mod_proxy_{scheme}.so\n\
         StartServers 1\nServerLimit 1\nThreadLimit 1200\nThreadsPerChild 1200\nMaxRequestWorkers 1200\nThreadStackSize 262144\nMaxKeepAliveRequests 0\nKeepAliveTimeout 3600\nTimeout 3600\n\
         LimitRequestFieldSize 65536\nLimitRequestLine 65536\nSetEnv ap_trust_cgilike_cl 1\nSetEnv REMOTE_USER somebody\nUseCanonicalPhysicalPort On\nAllowEncodedSlashes NoDecode\n\
         ProxyPass / \"{to}/\" {canon} flushpackets=on\n"
    )
}
