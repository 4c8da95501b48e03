//! The example server on mio passes every case its capabilities ask for.

#[path = "../examples/mio_server.rs"]
mod mio_server;

fn main() {
    conformance_tests::main(&[&mio_server::MioServer]);
}
