//! The servers a program knows by name: those of this build, and those it [adds](add). \[REG-01\], \[REG-02\]
//!
//! Looking one up starts nothing, and blocks at most for another thread that adds one.

use std::fmt;
use std::sync::{LazyLock, PoisonError, RwLock};

use adapter_core::{ServeError, Server};

/// The name that stands for the first of [`servers`].
pub const AUTO: &str = "auto";

static SERVERS: LazyLock<Vec<Box<dyn Server>>> = LazyLock::new(registered);

/// Those that were added.
static ADDED: RwLock<Vec<&'static dyn Server>> = RwLock::new(Vec::new());

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
    #[cfg(feature = "gateway")]
    servers.push(Box::new(adapter_gateway::CgiServer));
    #[cfg(feature = "gateway")]
    servers.push(Box::new(adapter_gateway::FastCgiServer));
    #[cfg(feature = "gateway")]
    servers.push(Box::new(adapter_gateway::ScgiServer));
    #[cfg(feature = "gateway")]
    servers.push(Box::new(adapter_gateway::UwsgiServer));
    servers
}

/// Adds a server of another crate, or the program's own: at the beginning of `main`, before anybody asks. From then on
/// `--server` with its name, `--list-servers`, `auto` (which prefers those of this build) and the errors know it, and so do
/// [`serve`](fn@crate::serve), [`run`](crate::run) and [`Launcher::new`](crate::Launcher::new).
///
/// ```
/// # use adapter_web::{DynApplication, ServeError, ServerConfig, ServerHandle, ServerInfo};
/// use adapter_web::{Server, registry};
///
/// struct MyServer;
/// # impl Server for MyServer {
/// #     fn info(&self) -> ServerInfo { ServerInfo::new("mine", "1.0") }
/// #     fn start(&self, _: DynApplication, _: ServerConfig) -> Result<ServerHandle, ServeError> { Err(ServeError::config("mine", "serves nothing")) }
/// # }
///
/// registry::add(&MyServer)?;
/// assert!(registry::names().contains(&"mine".into()));
/// # Ok::<(), registry::AddError>(())
/// ```
///
/// # Errors
/// Its name is taken, or can't be said on a command line.
pub fn add(server: &'static dyn Server) -> Result<(), AddError> {
    let name = server.info().name.into_owned();
    let mut added = ADDED.write().unwrap_or_else(PoisonError::into_inner);
    let unsayable = name.is_empty() || name.starts_with('-') || name.contains(|c: char| c.is_whitespace() || c == ',');
    if unsayable || name == AUTO {
        return Err(AddError { name, taken: false });
    }
    if SERVERS.iter().any(|known| known.info().name == name) || added.iter().any(|known| known.info().name == name) {
        return Err(AddError { name, taken: true });
    }
    added.push(server);
    Ok(())
}

/// Why a server could not be [added](add).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddError {
    name: String,
    taken: bool,
}

impl fmt::Display for AddError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = if self.taken { "there is one of that name" } else { "that can't be a server's name" };
        write!(f, "can't add the server {:?}: {why}", self.name)
    }
}

impl std::error::Error for AddError {}

/// The servers of this build that speak HTTP to their clients, in the order `auto` prefers them, then those that were [added](add), in
/// their order: what a test of an application asks each of. Gateways are known by their [names] only.
pub fn servers() -> Vec<&'static dyn Server> {
    all().into_iter().filter(|server| server.info().protocol == "http").collect()
}

/// Those, and the gateways.
pub(crate) fn all() -> Vec<&'static dyn Server> {
    let added = ADDED.read().unwrap_or_else(PoisonError::into_inner);
    SERVERS.iter().map(|server| &**server).chain(added.iter().copied()).collect()
}

/// Whether `server` is one of this build's, and not of another crate.
#[cfg(feature = "cli")]
pub(crate) fn is_ours(server: &dyn Server) -> bool {
    let name = server.info().name;
    SERVERS.iter().any(|own| own.info().name == name)
}

/// The names of all there are: [`servers`] and gateways.
pub fn names() -> Vec<String> {
    names_of(&all())
}

/// The server called `name`; `auto` is the first one.
///
/// # Errors
/// [`ServeError::UnknownServer`], which lists the known names.
pub fn server(name: &str) -> Result<&'static dyn Server, ServeError> {
    pick(&all(), name)
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
    table_of(&all())
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
    fn what_is_added_is_known_and_no_name_is_there_twice() {
        assert_eq!(add(&Fake("added")), Ok(()));
        assert_eq!(server("added").map(|server| server.info().name).ok().as_deref(), Some("added"));
        assert!(table().contains("\nadded "), "{}", table());
        let unknown = server("nope").err().expect("there is none").to_string();
        assert!(unknown.ends_with("added"), "{unknown}");
        let again = add(&Fake("added")).expect_err("it is there").to_string();
        assert_eq!(again, "can't add the server \"added\": there is one of that name");
        for name in ["auto", "", "two words", "--flag"] {
            assert!(add(Box::leak(Box::new(Fake(name)))).is_err(), "{name:?}");
        }
        if let Some(first) = SERVERS.first() {
            assert!(add(Box::leak(Box::new(Taken(first.info().name.into_owned())))).is_err());
        }
    }

    struct Taken(String);

    impl Server for Taken {
        fn info(&self) -> ServerInfo {
            ServerInfo::new(self.0.clone(), "1")
        }

        fn start(&self, _application: DynApplication, _config: ServerConfig) -> Result<ServerHandle, ServeError> {
            Err(ServeError::config("fake", "serves nothing"))
        }
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
