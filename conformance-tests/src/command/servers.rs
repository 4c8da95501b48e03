//! The servers a command knows by name: those of this build, then those of the program that calls it.

use std::sync::OnceLock;

use adapter_core::Server;

/// Those of the program.
static GIVEN: OnceLock<Vec<&'static dyn Server>> = OnceLock::new();

/// What a user may say instead of a name.
const ALL: &str = "all";

/// Makes `servers` known, once.
///
/// # Errors
/// A name is taken, or can't be said on a command line.
pub(super) fn add(servers: &[&'static dyn Server]) -> Result<(), String> {
    let mut names: Vec<String> = all().iter().map(|server| server.info().name.into_owned()).collect();
    for server in servers {
        let name = server.info().name.into_owned();
        if name.is_empty() || name == ALL || name.starts_with('-') || name.contains(char::is_whitespace) {
            return Err(format!("\"{name}\" can't be the name of a server"));
        }
        if names.contains(&name) {
            return Err(format!("there are two servers called \"{name}\""));
        }
        names.push(name);
    }
    GIVEN.set(servers.to_vec()).map_err(|_| "the command runs already".into())
}

/// All of them, in the order of reports.
pub(super) fn all() -> Vec<Box<dyn Server>> {
    #[allow(unused_mut, reason = "without features there is none of this build")]
    let mut servers: Vec<Box<dyn Server>> = vec![
        #[cfg(feature = "threadpool")]
        Box::new(adapter_threadpool::ThreadPoolServer::new()),
        #[cfg(feature = "hyper")]
        Box::new(adapter_hyper::HyperServer::new()),
        #[cfg(feature = "actix")]
        Box::new(adapter_hyper::ActixServer::new()),
        #[cfg(feature = "smol")]
        Box::new(adapter_smol::SmolServer::new()),
        #[cfg(feature = "gateway")]
        Box::new(adapter_gateway::FastCgiServer),
        #[cfg(feature = "gateway")]
        Box::new(adapter_gateway::ScgiServer),
        #[cfg(feature = "gateway")]
        Box::new(adapter_gateway::UwsgiServer),
    ];
    let given = GIVEN.get().map_or(&[][..], Vec::as_slice);
    servers.extend(given.iter().map(|server| Box::new(*server) as Box<dyn Server>));
    servers
}

/// The one of that name.
pub(super) fn find(name: &str) -> Result<Box<dyn Server>, String> {
    let known: Vec<String> = all().iter().map(|server| server.info().name.into_owned()).collect();
    let found = all().into_iter().find(|server| server.info().name == name);
    found.ok_or_else(|| format!("unknown server \"{name}\"; known are: {ALL}, {}", known.join(", ")))
}
