//! What is told of requests that a forced end leaves behind in code that blocks: the same on every server.

use adapter_web::observe::Counters;

use super::overload::{Gate, Opens};
use super::*;

#[test]
fn what_is_left_behind_by_a_forced_end_leaves_a_line() {
    for server in adapter_web::servers() {
        let name = server.info().name;
        let gate = Gate::default();
        let (begun, begins) = mpsc::channel();
        let held = gate.clone();
        let application = adapter_web::blocking(move |request, _| {
            if request.uri().path() == "/handler" {
                let _ = begun.send(());
                held.pass();
            }
            let (begun, held) = (begun.clone(), held.clone());
            Ok::<_, Error>(Response::new(Body::from_iterator(["one", "two"].into_iter().inspect(move |piece| {
                if *piece == "two" {
                    let _ = begun.send(());
                    held.pass();
                }
            }))))
        });
        let sink = Shared::default();
        let writer = Writer::to(sink.clone()).unwrap();
        let counters = Arc::new(Counters::new());
        let config = wire::config().threads(4).observe(AccessLog::refusals(Format::Json, Some(&writer)));
        let application = AccessLog::new(DynApplication::new(application), Format::Json, Some(&writer));
        let mut running = wire::start(server, application, config.observe(counters.clone()));
        let opened = Opens(&gate);
        let _clients = ["/handler", "/body"].map(|path| {
            let mut client = wire::Client::connect(running.addr);
            client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
            begins.recv_timeout(wire::PATIENCE).unwrap();
            if path == "/body" {
                client.head();
                // A chunk of three.
                client.exact(8).unwrap();
            }
            client
        });
        running.trigger().force();
        running.end().unwrap();
        writer.close();
        let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        let seen = counters.snapshot();
        drop(opened);
        let mut said: Vec<_> = text
            .lines()
            .map(object)
            .map(|line| format!("{} {} {} {}", line["target"], line["status"], line["ended"], line["response_octets"]))
            .collect();
        said.sort_unstable();
        assert_eq!(seen.requests_active(), 0, "{name}");
        assert_eq!(said, ["\"/body\" 200 \"forced\" 3", "\"/handler\" 499 \"forced\" 0"], "{name}");
    }
}
