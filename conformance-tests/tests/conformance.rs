//! Every case against every server of this project.

fn main() {
    conformance_tests::secure::provide(conformance_tests::own_tls::make);
    conformance_tests::main(&[
        &adapter_hyper::HyperServer::new(),
        &adapter_hyper::ActixServer::new(),
        &adapter_smol::SmolServer::new(),
        &adapter_threadpool::ThreadPoolServer::new(),
    ]);
}
