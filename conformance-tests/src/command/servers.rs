//! The servers this build knows by name.

use adapter_core::Server;

/// All of them, in the order of reports.
pub(crate) fn all() -> Vec<Box<dyn Server>> {
    vec![
        #[cfg(feature = "threadpool")]
        Box::new(adapter_threadpool::ThreadPoolServer::new()),
        #[cfg(feature = "hyper")]
        Box::new(adapter_hyper::HyperServer::new()),
        #[cfg(feature = "actix")]
        Box::new(adapter_hyper::ActixServer::new()),
        #[cfg(feature = "smol")]
        Box::new(adapter_smol::SmolServer::new()),
    ]
}

/// The one of that name.
pub(crate) fn find(name: &str) -> Result<Box<dyn Server>, String> {
    let known: Vec<String> = all().iter().map(|server| server.info().name.into_owned()).collect();
    let found = all().into_iter().find(|server| server.info().name == name);
    found.ok_or_else(|| format!("unknown server \"{name}\"; known are: all, {}", known.join(", ")))
}
