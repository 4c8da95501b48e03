//! Every route, on every server; on one alone with `ADAPTER_SERVER=name`.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use adapter_web::{DynApplication, ServerConfig, ServerHandle, axum_at_startup, registry};
use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};
use ureq::http::Response;
use ureq::{Agent, Body};

/// Nothing takes this long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

struct Site {
    server: Option<ServerHandle>,
    address: SocketAddr,
    prefix: &'static str,
    agent: Agent,
}

impl Site {
    fn url(&self, path: &str) -> String {
        format!("http://{}{}{path}", self.address, self.prefix)
    }

    fn get(&self, path: &str) -> Response<Body> {
        self.agent.get(self.url(path)).call().unwrap()
    }

    fn text(&self, path: &str) -> (u16, String) {
        let mut answer = self.get(path);
        (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
    }

    fn post(&self, path: &str, kind: &str, body: impl AsRef<[u8]>) -> Response<Body> {
        self.agent.post(self.url(path)).content_type(kind).send(body.as_ref()).unwrap()
    }

    fn websocket(&self, path: &str) -> WebSocket<TcpStream> {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let url = format!("ws://{}{}{path}", self.address, self.prefix);
        tungstenite::client(url, stream).unwrap().0
    }

    fn stop(mut self) {
        self.server.take().unwrap().stop().unwrap();
    }
}

fn each(test: impl Fn(&Site)) {
    each_below("", test);
}

fn each_below(prefix: &'static str, test: impl Fn(&Site)) {
    let wanted = std::env::var("ADAPTER_SERVER").ok().filter(|name| !name.is_empty());
    let mut tested = 0;
    for server in registry::servers() {
        let name = server.info().name;
        if wanted.as_ref().is_some_and(|wanted| *wanted != name) {
            continue;
        }
        println!("on {name}");
        let mut config = ServerConfig::default().bind("127.0.0.1:0".parse().unwrap());
        config.mount_prefix = prefix.into();
        let handle = server.start(DynApplication::new(axum_at_startup(axum_app::app)), config).unwrap();
        let address = handle.local_addrs()[0].tcp().unwrap();
        let agent = Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE)).build();
        let site = Site { server: Some(handle), address, prefix, agent: agent.into() };
        test(&site);
        site.stop();
        tested += 1;
    }
    assert!(tested > 0, "no server is called {wanted:?}");
}

#[test]
fn notes_are_kept() {
    each(|site| {
        let notes = |query: &str| -> Value { site.get(&format!("/api/notes{query}")).body_mut().read_json().unwrap() };
        assert_eq!(notes(""), json!([]));
        for text in ["tea", "more tea"] {
            let mut created = site.agent.post(site.url("/api/notes")).send_json(json!({"text": text})).unwrap();
            assert_eq!(created.status(), 201);
            assert_eq!(created.body_mut().read_json::<Value>().unwrap()["text"], text);
        }
        assert_eq!(notes("?limit=1"), json!([{"id": 2, "text": "more tea"}]));
        let changed = site.agent.put(site.url("/api/notes/1")).send_json(json!({"text": "coffee"})).unwrap();
        assert_eq!(changed.status(), 200);
        assert_eq!(site.text("/api/notes/1"), (200, r#"{"id":1,"text":"coffee"}"#.into()));
        assert_eq!(site.agent.delete(site.url("/api/notes/1")).call().unwrap().status(), 204);
        assert_eq!(site.text("/api/notes/1"), (404, "There is no such note.".into()));
        assert_eq!(site.get("/api/notes/x").status(), 400);
        assert_eq!(site.post("/api/notes", "application/json", "{").status(), 400);
        assert_eq!(site.post("/api/notes", "text/plain", "tea").status(), 415);
        assert_eq!(site.agent.delete(site.url("/api/notes")).call().unwrap().status(), 405);
    });
}

#[test]
fn files_are_received() {
    each(|site| {
        let big = "x".repeat(1_000_000);
        let part = |name: &str, data: &str| {
            format!("--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\r\n{data}\r\n")
        };
        let form = format!("{}{}--b--\r\n", part("a.txt", "hello"), part("b.bin", &big));
        let mut answer = site.post("/upload", "multipart/form-data; boundary=b", form);
        let received: Value = answer.body_mut().read_json().unwrap();
        assert_eq!(received, json!([{"name": "a.txt", "bytes": 5}, {"name": "b.bin", "bytes": 1_000_000}]));
        assert_eq!(site.post("/upload", "multipart/form-data; boundary=b", "--b\r\n").status(), 400);
        // axum's own limit.
        let huge = format!("{}--b--\r\n", part("c.bin", &"x".repeat(3_000_000)));
        assert_eq!(site.post("/upload", "multipart/form-data; boundary=b", huge).status(), 413);
    });
}

#[test]
fn files_are_sent() {
    each(|site| {
        let page = include_str!("../static/index.html");
        for path in ["/", "/index.html"] {
            let mut answer = site.get(path);
            assert_eq!(answer.headers()["content-type"], "text/html", "{path}");
            assert_eq!(answer.body_mut().read_to_string().unwrap(), page, "{path}");
        }
        let head = site.agent.head(site.url("/page.js")).call().unwrap();
        assert_eq!(head.headers()["content-length"], include_str!("../static/page.js").len().to_string().as_str());
        let mut part = site.agent.get(site.url("/index.html")).header("range", "bytes=2-8").call().unwrap();
        assert_eq!(part.status(), 206);
        assert_eq!(part.body_mut().read_to_string().unwrap(), &page[2..9]);
        let zipped = site.agent.get(site.url("/page.js")).header("accept-encoding", "gzip").call().unwrap();
        assert_eq!(zipped.headers()["content-encoding"], "gzip");
        let mut octets = Vec::new();
        zipped.into_body().into_reader().read_to_end(&mut octets).unwrap();
        assert_eq!(octets[..2], [0x1f, 0x8b]);
        assert_eq!(site.get("/none.html").status(), 404);
        assert_eq!(site.get("/..%2fCargo.toml").status(), 404);
    });
}

#[test]
fn events_come_as_they_happen() {
    each(|site| {
        let answer = site.get("/events");
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        let mut lines = BufReader::new(answer.into_body().into_reader()).lines();
        let mut event = || {
            let event: Vec<_> = lines.by_ref().map(|line| line.unwrap()).take_while(|line| !line.is_empty()).collect();
            event.join(" ")
        };
        assert_eq!(event(), "event: tick data: 0");
        site.agent.post(site.url("/api/notes")).send_json(json!({"text": "news"})).unwrap();
        // Ticks may come before it.
        assert!((0..5).any(|_| event() == "event: note data: news"));
    });
}

#[test]
fn websockets_echo_and_chat() {
    each(|site| {
        let mut echo = site.websocket("/echo");
        for message in [Message::text("hello"), Message::binary(vec![7; 200_000])] {
            echo.send(message.clone()).unwrap();
            assert_eq!(echo.read().unwrap(), message);
        }
        echo.close(None).unwrap();
        let (mut one, mut other) = (site.websocket("/chat"), site.websocket("/chat"));
        // Until both are in the room.
        for socket in [&mut one, &mut other] {
            socket.send(Message::text("in")).unwrap();
            while socket.read().unwrap() != Message::text("in") {}
        }
        one.send(Message::text("hi all")).unwrap();
        while other.read().unwrap() != Message::text("hi all") {}
    });
}

#[test]
fn sessions_are_in_a_cookie() {
    each(|site| {
        assert_eq!(site.get("/me").status(), 401);
        let login = site.post("/login", "application/x-www-form-urlencoded", "name=Ann+%26+Bob");
        let cookie = login.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
        let me = |cookie: &str| {
            let mut answer = site.agent.get(site.url("/me")).header("cookie", cookie).call().unwrap();
            (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
        };
        assert_eq!(me(&cookie), (200, "Ann & Bob".into()));
        assert_eq!(me(&format!("{cookie}x")).0, 401, "not what was signed");
        assert_eq!(me("name=Ann").0, 401);
    });
}

#[test]
fn requests_are_known_and_have_their_time() {
    each(|site| {
        let expected = r#"{"peer":"127.0.0.1","path":"/whoami/me","matched":"/whoami/{name}"}"#;
        assert_eq!(site.text("/whoami/me"), (200, expected.into()));
        assert_eq!(site.get("/slow").status(), 504);
        assert_eq!(site.text("/blocking"), (200, "done".into()));
    });
}

#[test]
fn it_may_be_mounted() {
    each_below("/shop", |site| {
        let expected = r#"{"peer":"127.0.0.1","path":"/shop/whoami/me","matched":"/whoami/{name}"}"#;
        assert_eq!(site.text("/whoami/me"), (200, expected.into()));
        assert_eq!(site.get("/style.css").status(), 200);
        let mut echo = site.websocket("/echo");
        echo.send(Message::text("hello")).unwrap();
        assert_eq!(echo.read().unwrap(), Message::text("hello"));
    });
}
