//! nginx as it is installed: found, and configured for the measurement under TLS, for HTTP/2, or to serve a folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::identity::Identity;

const PLACES: [&str; 3] = ["nginx", "/usr/sbin/nginx", "/usr/local/sbin/nginx"];

/// What it is to serve.
pub enum Site<'a> {
    /// `/`, and 64 MiB of a file as `/stream`, under TLS.
    Secured(&'a Identity),
    /// `/`, and 64 KiB of a file as `/stream`, over HTTP/2.
    Multiplexed,
    Folder(&'a Path),
}

pub fn find() -> Result<PathBuf, String> {
    let runs = |place: &&&str| {
        let mut command = Command::new(place);
        command.arg("-v").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    PLACES.iter().find(runs).map(PathBuf::from).ok_or_else(|| "nginx is not installed".into())
}

/// Writes what it needs to `scratch`; the arguments to start it with.
pub fn arguments(port: u16, threads: usize, site: Site<'_>, scratch: &Path) -> Result<Vec<String>, String> {
    let write = || -> std::io::Result<PathBuf> {
        let stream = |length| fs::File::create(scratch.join("stream"))?.set_len(length);
        let server = match site {
            Site::Secured(identity) => {
                stream(64 << 20)?;
                secured(port, identity, scratch)
            }
            Site::Multiplexed => {
                stream(64 << 10)?;
                multiplexed(port, scratch)
            }
            Site::Folder(folder) => plain(port, folder),
        };
        let path = scratch.join("nginx.conf");
        fs::write(&path, configuration(threads, &server, scratch))?;
        Ok(path)
    };
    let path = write().map_err(|error| format!("its configuration can't be written: {error}"))?;
    let directory = format!("{}/", scratch.display());
    Ok(["-p".into(), directory, "-c".into(), path.display().to_string(), "-e".into(), "stderr".into()].into())
}

fn secured(port: u16, identity: &Identity, scratch: &Path) -> String {
    let (cert, key) = (identity.cert.display(), identity.key.display());
    format!(
        "listen 127.0.0.1:{port} ssl backlog=4096;\n\
         ssl_certificate {cert}; ssl_certificate_key {key}; ssl_protocols TLSv1.2 TLSv1.3;\n\
         {}",
        routes(scratch)
    )
}

fn multiplexed(port: u16, scratch: &Path) -> String {
    // `http2 on` has taken the parameter's place in 1.25, which still takes it.
    format!("listen 127.0.0.1:{port} http2 backlog=4096; sendfile on; tcp_nopush on;\n{}", routes(scratch))
}

fn routes(scratch: &Path) -> String {
    format!("location = / {{ return 200 'Hello, World!'; }}\nlocation = /stream {{ root {}; }}\n", scratch.display())
}

/// As packages configure it: sendfile, and the head in the first packet of the file.
fn plain(port: u16, folder: &Path) -> String {
    format!("listen 127.0.0.1:{port} backlog=4096; sendfile on; tcp_nopush on; root {};\n", folder.display())
}

fn configuration(threads: usize, server: &str, scratch: &Path) -> String {
    let here = scratch.display();
    // One worker is the process itself, so that tools which follow one process see it.
    let workers = if threads == 1 { "master_process off;".into() } else { format!("worker_processes {threads};") };
    // Its workers give up the rights of root, and with them this directory.
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    format!(
        "daemon off; {workers} {user} pid {here}/nginx.pid; worker_rlimit_nofile 65536;\n\
         events {{ worker_connections 20000; }}\n\
         http {{\n\
         access_log off; keepalive_requests 1000000000; keepalive_timeout 600; default_type text/plain;\n\
         client_body_temp_path {here}/body; proxy_temp_path {here}/proxy; fastcgi_temp_path {here}/fastcgi;\n\
         uwsgi_temp_path {here}/uwsgi; scgi_temp_path {here}/scgi;\n\
         server {{\n\
         {server}\
         }}\n\
         }}\n"
    )
}
