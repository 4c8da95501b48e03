//! The example server passes every case its capabilities ask for.

#[path = "../examples/minimal_server.rs"]
mod minimal_server;

fn main() {
    conformance_tests::main(&[&minimal_server::MinimalServer]);
}
