//! The whole suite over TLS, on one event loop and on the thread pool. \[TST-06\]
//!
//! `conformance run --server all --tls` does the same on every server.

use conformance_tests::{own_tls, secure};

fn main() {
    secure::provide(own_tls::make);
    // The certificates of the suite are made here, and TLS with them.
    secure::everywhere().expect("there is TLS in this build");
    conformance_tests::main(&[&adapter_hyper::HyperServer::new(), &adapter_threadpool::ThreadPoolServer::new()]);
}
