//! actix-files with actix-web's own server: `--folder FOLDER`.

use actix_files::Files;
use actix_web::{App, HttpServer, rt};
use peer_support::Arguments;

fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    let folder = arguments.value("--folder").expect("--folder").to_owned();
    rt::System::new().block_on(
        HttpServer::new(move || App::new().service(Files::new("/", &folder).index_file("index.html")))
            .workers(arguments.threads)
            .backlog(4096)
            .disable_signals()
            .bind(arguments.address())?
            .run(),
    )
}
