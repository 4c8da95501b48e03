//! The servers of this build, by name. \[REG-01\], \[REG-02\]
//!
//! Built once, on first use; looking one up neither blocks nor starts anything.

use std::sync::LazyLock;

use adapter_core::{ServeError, Server};

/// The name that stands for the first of [`servers`].
pub const AUTO: &str = "auto";

static SERVERS: LazyLock<Vec<Box<dyn Server>>> = LazyLock::new(registered);

/// One line for each server; the order is the one `auto` prefers.
#[allow(clippy::vec_init_then_push, reason = "what is pushed depends on features")]
fn registered() -> Vec<Box<dyn Server>> {
    #[allow(unused_mut, reason = "without a server feature there is none")]
    let mut servers: Vec<Box<dyn Server>> = Vec::new();
    #[cfg(feature = "hyper")]
    servers.push(Box::new(adapter_hyper::HyperServer::new()));
    #[cfg(feature = "actix")]
    servers.push(Box::new(adapter_hyper::ActixServer::new()));
    #[cfg(feature = "smol")]
    servers.push(Box::new(adapter_smol::SmolServer::new()));
    #[cfg(feature = "threadpool")]
    servers.push(Box::new(adapter_threadpool::ThreadPoolServer::new()));
    servers
}

/// The servers of this build, in the order `auto` prefers them.
pub fn servers() -> Vec<&'static dyn Server> {
    SERVERS.iter().map(|server| &**server).collect()
}

/// The names of [`servers`].
pub fn names() -> Vec<String> {
    names_of(&servers())
}

/// The server called `name`; `auto` is the first one.
///
/// # Errors
/// [`ServeError::UnknownServer`], which lists the known names.
pub fn server(name: &str) -> Result<&'static dyn Server, ServeError> {
    pick(&servers(), name)
}

fn names_of(servers: &[&'static dyn Server]) -> Vec<String> {
    servers.iter().map(|server| server.info().name.into_owned()).collect()
}

pub(crate) fn pick(servers: &[&'static dyn Server], name: &str) -> Result<&'static dyn Server, ServeError> {
    let found = match name {
        AUTO => servers.first(),
        name => servers.iter().find(|server| server.info().name == name),
    };
    found.copied().ok_or_else(|| ServeError::UnknownServer { name: name.to_owned(), known: names_of(servers) })
}

/// The servers as a table for people: name, version, concurrency, capabilities.
pub fn table() -> String {
    table_of(&servers())
}

pub(crate) fn table_of(servers: &[&'static dyn Server]) -> String {
    let mut rows = vec![["NAME", "VERSION", "CONCURRENCY", "CAPABILITIES"].map(str::to_owned)];
    rows.extend(servers.iter().map(|server| {
        let info = server.info();
        let capabilities: Vec<_> = info.capabilities.iter().filter_map(|(name, can)| can.then_some(name)).collect();
        let mut concurrency = Vec::new();
        for (name, is) in [
            ("threads", info.concurrency.multithread),
            ("tasks", info.concurrency.asynchronous),
            ("processes", info.concurrency.multiprocess),
            ("one request", info.concurrency.run_once),
        ] {
            if is {
                concurrency.push(name);
            }
        }
        [info.name.into_owned(), info.version.into_owned(), concurrency.join(" + "), capabilities.join(" ")]
    }));
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let (name, version, concurrency) = (width(0), width(1), width(2));
    let line = |row: &[String; 4]| {
        let line = format!("{:name$}  {:version$}  {:concurrency$}  {}", row[0], row[1], row[2], row[3]);
        line.trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use adapter_core::{Capabilities, DynApplication, ServerConfig, ServerHandle, ServerInfo};

    use super::*;

    struct Fake(&'static str);

    impl Server for Fake {
        fn info(&self) -> ServerInfo {
            let mut capabilities = Capabilities::none();
            capabilities.trailers = true;
            capabilities.http2 = true;
            ServerInfo::new(self.0, "1.2.3").with_capabilities(capabilities)
        }

        fn start(&self, _application: DynApplication, _config: ServerConfig) -> Result<ServerHandle, ServeError> {
            Err(ServeError::config("fake", "serves nothing"))
        }
    }

    const FAKES: &[&dyn Server] = &[&Fake("one"), &Fake("two")];

    #[test]
    fn a_server_is_found_by_name_and_auto_is_the_first() {
        assert_eq!(pick(FAKES, "two").map(|server| server.info().name).ok().as_deref(), Some("two"));
        assert_eq!(pick(FAKES, "auto").map(|server| server.info().name).ok().as_deref(), Some("one"));
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let error = pick(FAKES, "x").err().expect("there is no x");
        assert_eq!(error.to_string(), "unknown server \"x\"; known are: one, two");
        let none = pick(&[], "auto").err().expect("there is none at all");
        assert!(matches!(none, ServeError::UnknownServer { known, .. } if known.is_empty()));
    }

    #[test]
    fn the_table_is_aligned() {
        assert_eq!(
            table_of(FAKES),
            "NAME  VERSION  CONCURRENCY      CAPABILITIES\n\
             one   1.2.3    threads + tasks  trailers http2\n\
             two   1.2.3    threads + tasks  trailers http2\n"
        );
    }

    #[test]
    fn every_server_of_this_build_can_be_picked_and_names_are_unique() {
        let mut names = names();
        for name in &names {
            assert_eq!(server(name).map(|server| server.info().name).ok().as_deref(), Some(name.as_str()));
        }
        names.sort();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
