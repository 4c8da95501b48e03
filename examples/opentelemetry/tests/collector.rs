//! The program, a client, and a collector that is a listener on loopback: what is asked there arrives here.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind, status::StatusCode};
use prost::Message as _;
use rustix::process::{Pid, Signal, kill_process};

/// How long any single thing may take.
const PATIENCE: Duration = Duration::from_secs(20);
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

#[test]
fn a_request_arrives_as_a_span() {
    each_server(|program| {
        let head = format!("user-agent: test\r\ntraceparent: 00-{TRACE}-{CALLER}-01\r\nx-request-id: this-one\r\n");
        assert!(program.get("/hello/you?secret=1", &head).ends_with("Hello, you!\n"));
        let spans = program.stop();

        let request = only(&spans, "GET /hello/{name}");
        assert_eq!(request.kind(), SpanKind::Server);
        assert_eq!((hex(&request.trace_id), hex(&request.parent_span_id)), (TRACE.into(), CALLER.into()));
        let has = |key| attribute(&request.attributes, key);
        assert_eq!(has("http.request.method").as_deref(), Some("GET"));
        assert_eq!(has("http.route").as_deref(), Some("/hello/{name}"));
        assert_eq!(has("http.response.status_code").as_deref(), Some("200"));
        assert_eq!(has("url.path").as_deref(), Some("/hello/you"));
        assert_eq!(has("url.scheme").as_deref(), Some("http"));
        assert_eq!(has("client.address").as_deref(), Some("127.0.0.1"));
        assert_eq!(has("user_agent.original").as_deref(), Some("test"));
        assert_eq!(has("request_id").as_deref(), Some("this-one"));
        assert!(!format!("{request:?}").contains("secret"), "{request:?}");
        assert!(request.status.as_ref().is_none_or(|status| status.code() != StatusCode::Error));

        let greet = only(&spans, "greet");
        assert_eq!((&greet.trace_id, &greet.parent_span_id), (&request.trace_id, &request.span_id));
        assert_eq!(spans.len(), 2, "{spans:?}");
    });
}

#[test]
fn without_a_caller_a_trace_begins() {
    each_server(|program| {
        assert!(program.get("/nothing", "").starts_with("HTTP/1.1 404 "));
        let spans = program.stop();
        let request = only(&spans, "GET");
        assert!(request.parent_span_id.is_empty(), "{request:?}");
        assert_eq!(attribute(&request.attributes, "http.response.status_code").as_deref(), Some("404"));
        assert_eq!(attribute(&request.attributes, "http.route"), None);
    });
}

/// A running program whose collector is here. Dropped, it is ended.
struct Program {
    child: Child,
    address: SocketAddr,
    batches: Receiver<ExportTraceServiceRequest>,
}

fn each_server(test: impl Fn(Program)) {
    for server in adapter_web::servers() {
        // Shown where the test fails.
        println!("on {}", server.info().name);
        test(Program::start(&server.info().name));
    }
}

impl Program {
    fn start(server: &str) -> Program {
        let collector = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", collector.local_addr().unwrap());
        let (sender, batches) = mpsc::channel();
        thread::spawn(move || {
            for stream in collector.incoming() {
                let sender = sender.clone();
                // A connection ends as the program likes.
                thread::spawn(move || collect(&stream.unwrap(), |batch| drop(sender.send(batch))));
            }
        });
        let mut child = Command::new(env!("CARGO_BIN_EXE_opentelemetry-example"))
            .args(["--access-log", "events", "--bind", "127.0.0.1:0", "--server", server])
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
            .env("NO_PROXY", "127.0.0.1")
            // What is not sent at the end never is.
            .env("OTEL_BSP_SCHEDULE_DELAY", "3600000")
            .env_remove("RUST_LOG")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                println!("{line}");
                let _ = sender.send(line);
            }
        });
        let address = loop {
            let line = lines.recv_timeout(PATIENCE).expect("the program tells where it listens");
            let address = line.split_once("http://").and_then(|(_, rest)| rest.split([' ', '/']).next()?.parse().ok());
            if let Some(address) = address {
                break address;
            }
        };
        Program { child, address, batches }
    }

    /// The whole answer.
    fn get(&self, target: &str, head: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{head}\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Ends the program as an operator does, and is left with all spans that it has sent.
    fn stop(mut self) -> Vec<Span> {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let first = self.batches.recv_timeout(PATIENCE).expect("a batch arrives");
        assert!(self.child.wait().unwrap().success());
        let batches = [first].into_iter().chain(self.batches.try_iter());
        let resources = batches.flat_map(|batch| batch.resource_spans);
        resources.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans).collect()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Answers one connection of the exporter's, request by request: a head, and a body of a told length.
fn collect(mut stream: &TcpStream, mut taken: impl FnMut(ExportTraceServiceRequest)) {
    let mut reader = BufReader::new(stream);
    while let Ok(Some((line, body))) = read_request(&mut reader) {
        assert_eq!(line, "POST /v1/traces HTTP/1.1");
        taken(ExportTraceServiceRequest::decode(body.as_slice()).unwrap());
        let _ =
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n");
    }
}

fn read_request(reader: &mut impl BufRead) -> io::Result<Option<(String, Vec<u8>)>> {
    let (mut first, mut length) = (None, 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(": ")
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.parse().map_err(io::Error::other)?;
        }
        first.get_or_insert_with(|| line.to_owned());
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(first.map(|line| (line, body)))
}

fn only<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let mut named = spans.iter().filter(|span| span.name == name);
    let span = named.next().unwrap_or_else(|| panic!("no {name}: {spans:?}"));
    assert!(named.next().is_none(), "several {name}: {spans:?}");
    span
}

/// An attribute's value as text.
fn attribute(attributes: &[KeyValue], key: &str) -> Option<String> {
    match attributes.iter().find(|attribute| attribute.key == key)?.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        other => Some(format!("{other:?}")),
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}
