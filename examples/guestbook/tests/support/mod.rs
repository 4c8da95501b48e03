//! Starts the guestbook on each server, or on the one that `ADAPTER_SERVER` names, and asks it over sockets.

use std::time::Duration;

use adapter_web::{DynApplication, Server, ServerConfig, ServerHandle};
use guestbook::Store;
use tempfile::TempDir;
use ureq::Agent;
use ureq::http::Response;

/// How long any single thing may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs `test` on one server after the other, with a new database each.
pub(crate) fn each(test: impl Fn(&Client)) {
    each_with(ServerConfig::default(), test);
}

pub(crate) fn each_with(config: ServerConfig, test: impl Fn(&Client)) {
    let wanted = std::env::var("ADAPTER_SERVER").ok().filter(|name| !name.is_empty());
    let servers = match wanted {
        Some(name) => vec![adapter_web::registry::server(&name).unwrap()],
        None => adapter_web::servers(),
    };
    for server in servers {
        // Shown where the test fails.
        println!("on {}", server.info().name);
        let folder = TempDir::new().unwrap();
        let (client, handle) = start(server, &folder, config.clone());
        test(&client);
        handle.trigger().trigger();
        handle.wait().unwrap();
    }
}

fn start(server: &dyn Server, folder: &TempDir, config: ServerConfig) -> (Client, ServerHandle) {
    let store = Store::open(&folder.path().join("guestbook.db")).unwrap();
    let config = config.bind("127.0.0.1:0".parse().unwrap());
    let handle = server.start(DynApplication::new(guestbook::application(store)), config).unwrap();
    let root = format!("http://{}", handle.local_addrs()[0]);
    // Answers as they are, redirects too.
    let agent = Agent::config_builder().timeout_global(Some(PATIENCE)).http_status_as_error(false).max_redirects(0);
    (Client { root, agent: agent.build().into() }, handle)
}

/// A client of a running guestbook.
pub(crate) struct Client {
    pub(crate) root: String,
    pub(crate) agent: Agent,
}

impl Client {
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        read(self.agent.get(format!("{}{path}", self.root)).call().unwrap())
    }

    pub(crate) fn post(&self, path: &str, content_type: &str, body: &str) -> Response<ureq::Body> {
        self.agent.post(format!("{}{path}", self.root)).content_type(content_type).send(body).unwrap()
    }

    /// Sends the form.
    pub(crate) fn sign(&self, path: &str, name: &str, text: &str) -> Response<ureq::Body> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        let form = form.append_pair("name", name).append_pair("text", text).finish();
        self.post(path, "application/x-www-form-urlencoded", &form)
    }
}

/// Status and body.
pub(crate) fn read(mut response: Response<ureq::Body>) -> (u16, String) {
    (response.status().as_u16(), response.body_mut().read_to_string().unwrap())
}

/// One field of a response's head.
pub(crate) fn field(response: &Response<ureq::Body>, name: &str) -> String {
    response.headers().get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
}
