//! The smallest program: `cargo run --example hello -- --help`
use adapter_web::{Body, Environ, Error, Request, Response};

async fn hello(_request: Request, environ: Environ) -> Result<Response, Error> {
    let text = format!("Hello, World! This is {}.\n", environ.server().name);
    Ok(Response::new(Body::from(text)))
}

fn main() -> std::process::ExitCode {
    adapter_web::serve!(hello)
}
