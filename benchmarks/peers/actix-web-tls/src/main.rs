//! actix-web with its own server under rustls: `--threads` workers, each a current-thread runtime.

#[path = "../../actix-web/src/application.rs"]
mod application;

use actix_web::{App, HttpServer, rt};
use peer_support::Arguments;

fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    rt::System::new().block_on(
        HttpServer::new(|| App::new().configure(application::routes))
            .workers(arguments.threads)
            .backlog(4096)
            .disable_signals()
            .bind_rustls_0_23(arguments.address(), peer_tls::config(&arguments))?
            .run(),
    )
}
