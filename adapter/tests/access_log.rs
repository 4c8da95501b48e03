//! The access log around an application, in process.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use adapter::access_log::{AccessLog, Format, Writer};
use adapter::http::StatusCode;
use adapter::testing::Client;
use adapter::{Body, DynApplication, Environ, Error, Request, Response};

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

async fn application(request: Request, _environ: Environ) -> Result<Response, Error> {
    match request.uri().path() {
        "/text" => Ok(Response::new(Body::from("12345"))),
        "/stream" => Ok(Response::new(Body::from_stream(futures_lite::stream::iter(["one", "two", "three"])))),
        "/iterator" => Ok(Response::new(Body::from_iterator(["one", "two"]))),
        "/error" => Err(Error::new("no").with_status(StatusCode::IM_A_TEAPOT)),
        "/panic" => panic!("no"),
        "/never" => std::future::pending().await,
        _ => Ok(Response::builder().status(404).body(Body::empty())?),
    }
}

/// The lines of what `drive` does, without host and date.
fn lines(format: Format, drive: impl FnOnce(&Client)) -> Vec<String> {
    let sink = Shared::default();
    let writer = Writer::to(sink.clone()).unwrap();
    let client = Client::new(AccessLog::new(DynApplication::new(application), format, Some(&writer)));
    drive(&client);
    drop(client);
    writer.close();
    let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
    text.lines().map(|line| line.split_once("] ").unwrap().1.to_owned()).collect()
}

#[test]
fn status_and_bytes_are_what_the_client_got() {
    let found = lines(Format::Common, |client| {
        for target in ["/text?a=b", "/stream", "/iterator", "/error", "/panic", "/else"] {
            client.get(target).send();
        }
        client.head("/text").send();
    });
    assert_eq!(
        found,
        [
            "\"GET /text?a=b HTTP/1.1\" 200 5",
            "\"GET /stream HTTP/1.1\" 200 11",
            "\"GET /iterator HTTP/1.1\" 200 6",
            "\"GET /error HTTP/1.1\" 418 12",
            "\"GET /panic HTTP/1.1\" 500 21",
            "\"GET /else HTTP/1.1\" 404 -",
            "\"HEAD /text HTTP/1.1\" 200 -",
        ]
    );
}

#[test]
fn the_answer_is_the_same_with_and_without_the_log() {
    let plain = Client::new(application);
    let logged = Client::new(AccessLog::new(DynApplication::new(application), Format::Events, None));
    for target in ["/text", "/stream", "/iterator", "/error", "/panic", "/else"] {
        let (plain, logged) = (plain.get(target).send(), logged.get(target).send());
        let told = |answer: &adapter::testing::Answer| {
            let mut headers = answer.headers().clone();
            headers.remove("date");
            (answer.status(), headers, answer.body().clone(), answer.is_complete())
        };
        assert_eq!(told(&plain), told(&logged), "{target}");
    }
}

#[test]
fn combined_adds_referer_and_user_agent() {
    let found = lines(Format::Combined, |client| {
        client.get("/text").header("referer", "http://a/").header("user-agent", "x \"y\"").send();
        client.get("/text").send();
    });
    assert_eq!(
        found,
        ["\"GET /text HTTP/1.1\" 200 5 \"http://a/\" \"x \\\"y\\\"\"", "\"GET /text HTTP/1.1\" 200 5 \"-\" \"-\""]
    );
}

#[test]
fn a_client_that_goes_away_is_logged_as_499() {
    let found = lines(Format::Common, |client| client.get("/never").open().disconnect());
    assert_eq!(found, ["\"GET /never HTTP/1.1\" 499 -"]);
}
