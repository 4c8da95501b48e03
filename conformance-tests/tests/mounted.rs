//! The whole suite once under a mount prefix, on one event loop and on the thread pool. \[TST-05\]
//!
//! The cases about the prefix itself have one of their own, and are left to `tests/conformance.rs`.

fn main() {
    conformance_tests::secure::provide(conformance_tests::own_tls::make);
    conformance_tests::mount::under("/below");
    conformance_tests::main(&[&adapter_hyper::HyperServer::new(), &adapter_threadpool::ThreadPoolServer::new()]);
}
