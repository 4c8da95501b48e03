//! The conformance application on a server, for a suite in another process.

use std::io::Write;

use adapter_core::{Bind, ListenAddr, ServeError, Server, ServerHandle};

use crate::application::{self, Advertised, Conformance};
use crate::setting;

/// Serves the conformance application at `bind`, and under every other setting of the suite at ports of their own,
/// which the first one tells to those who ask (`run --external`). Blocks until the first one has ended; prints where
/// it listens. Panics that cases ask for are not printed any more in this process.
///
/// # Errors
/// What the server says.
pub fn serve(server: &dyn Server, bind: Bind) -> Result<(), ServeError> {
    application::quiet_panics();
    let mut handles: Vec<ServerHandle> = Vec::new();
    let mut advertised = Advertised::default();
    for setting in setting::ALL.iter().filter(|setting| setting.name != setting::DEFAULT.name) {
        let mut config = setting.config();
        // Whoever reaches the one reaches the others.
        if let Bind::Tcp(address) = bind {
            config.binds = vec![Bind::Tcp((address.ip(), 0).into())];
        }
        let handle = server.start(Conformance::new().mount(), config)?;
        if let Some(address) = handle.local_addrs().iter().find_map(ListenAddr::tcp) {
            advertised.0.push((setting.name, address.port()));
        }
        handles.push(handle);
    }
    let mut config = setting::DEFAULT.config().value(advertised);
    config.binds = vec![bind];
    let handle = server.start(Conformance::new().mount(), config)?;
    for address in handle.local_addrs() {
        // Nobody may be reading.
        let _ = writeln!(std::io::stdout(), "{} serves the conformance application at {address}", server.info().name);
    }
    handle.wait()?;
    handles.into_iter().try_for_each(ServerHandle::stop)
}
