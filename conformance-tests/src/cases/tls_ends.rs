//! How connections under TLS end, and what the other side makes of it. TLS-07 to TLS-09

use crate::case::{Failure, Group, ensure, ensure_eq};
use crate::context::switched;
use crate::lifecycle::Lifecycle;
use crate::setting::SHORT;
use crate::wire::http2::Http2;

use super::tls::{case, serves, started};

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "tls_ends",
    title: "Ends under TLS",
    cases: &[
        case("whole_responses_end_in_order", "close_notify, then FIN, however they are framed", &["TLS-07"], whole),
        case("idle_connections_end_in_order", "at the end of the idle timeout", &["TLS-07"], idle),
        case("drained_connections_end_in_order", "idle and new ones, of both versions of HTTP", &["TLS-07"], drained),
        case("broken_responses_look_broken", "no close_notify where a body fails", &["TLS-08"], broken),
        case("stalled_responses_look_broken", "nor where the client takes nothing", &["TLS-08"], stalled),
        case("idle_clients_may_leave", "with close_notify and without", &["TLS-09"], leaves),
        case(
            "cut_request_is_a_disconnect",
            "a body that ends without its end, whichever way",
            &["TLS-09"],
            cut_request,
        ),
        case("cut_stream_is_an_error", "UnexpectedEof, after what was sent", &["TLS-09"], cut_stream),
        case("closed_stream_is_an_end", "by close_notify", &["TLS-09"], closed_stream),
    ],
};

fn whole(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let running = started(life, |_| {})?;
    let cx = &running.context;
    for script in ["body x", "size 100000", "stream text:a text:b", ""] {
        for request in [cx.get(script).close(), cx.get(script).http10()] {
            let mut connection = cx.connect()?;
            connection.send(request.bytes())?;
            let response = connection.response("GET")?;
            ensure!(response.status() == 200 && !response.truncated, "the response is not whole ({script})");
            connection.ends_in_order().map_err(|failure| Failure(format!("{script}: {failure}")))?;
        }
    }
    running.stop()
}

fn idle(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let running = started(life, |config| config.timeouts.keep_alive = Some(SHORT))?;
    let mut connection = running.context.connect()?;
    serves(&running.context, &mut connection)?;
    connection.ends_in_order()?;
    running.stop()
}

fn drained(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let speaks_http2 = life.server().info().capabilities.http2;
    let running = started(life, |_| {})?;
    let cx = &running.context;
    let mut used = cx.connect()?;
    serves(&running.context, &mut used)?;
    let mut fresh = cx.connect()?;
    fresh.agreed()?;
    let mut http2 = None;
    if speaks_http2 {
        let mut opened = Http2::open(cx)?;
        let stream = opened.get("/", "body served")?;
        ensure_eq!(opened.response(stream)?.body, b"served", "the response over HTTP/2");
        http2 = Some(opened);
    }
    // Whoever came before it has been accepted.
    serves(&running.context, &mut cx.connect()?)?;
    running.trigger();
    used.ends_in_order().map_err(|failure| Failure(format!("after a request: {failure}")))?;
    fresh.ends_in_order().map_err(|failure| Failure(format!("before any request: {failure}")))?;
    if let Some(mut http2) = http2 {
        http2.closed_gracefully()?;
        http2.into_connection().ends_in_order().map_err(|failure| Failure(format!("HTTP/2: {failure}")))?;
    }
    running.stop()
}

fn broken(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let running = started(life, |_| {})?;
    let cx = &running.context;
    for script in ["stream text:half error", "iter text:half error", "stream size:100000 sleep:50 error"] {
        for request in [cx.get(script), cx.get(script).close(), cx.get(script).http10()] {
            let mut connection = cx.connect()?;
            connection.send(request.bytes())?;
            connection.head()?;
            connection.ended_broken().map_err(|failure| Failure(format!("{script}: {failure}")))?;
        }
    }
    running.stop()
}

fn stalled(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let running = started(life, |config| config.timeouts.write = Some(SHORT))?;
    let cx = &running.context;
    let mut connection = cx.connect()?;
    connection.small_window();
    connection.send(cx.get("stream forever:size:65536; hook").http10().bytes())?;
    running.wait_for("hook aborted")?;
    connection.ended_broken()?;
    running.stop()
}

fn leaves(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let running = started(life, |_| {})?;
    let cx = &running.context;
    for cut in [false, true] {
        for used in [false, true] {
            let mut connection = cx.connect()?;
            connection.agreed()?;
            if used {
                serves(&running.context, &mut connection)?;
            }
            if cut {
                connection.cut();
            } else {
                connection.finish();
            }
            connection.closed().map_err(|failure| Failure(format!("cut {cut}, used {used}: {failure}")))?;
            ensure!(connection.was_reset() != Some(true), "an idle connection was reset (cut {cut}, used {used})");
        }
    }
    serves(&running.context, &mut cx.connect()?)?;
    running.stop()
}

fn cut_request(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let mut running = started(life, |_| {})?;
    for (cut, face) in [(true, ""), (false, ""), (true, "blocking; ")] {
        running.context.again();
        let cx = &running.context;
        let mut connection = cx.connect()?;
        let request = cx.request("POST", "/").script(&format!("{face}read; body x")).field("content-length", "100");
        connection.send(request.tail("part").bytes())?;
        running.wait_for("call")?;
        if cut {
            connection.cut();
        } else {
            connection.finish();
        }
        running.wait_for("read-error disconnected").map_err(|failure| Failure(format!("cut {cut}: {failure}")))?;
        connection.rest()?;
    }
    running.stop()
}

fn cut_stream(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let mut running = started(life, |_| {})?;
    for face in ["", "blocking "] {
        running.context.again();
        let mut stream = running.context.connect()?;
        stream.send(running.context.upgrade(&format!("upgrade {face}echo")).bytes())?;
        switched(&mut stream)?;
        stream.send("ping")?;
        ensure_eq!(stream.take(4, "the echo")?, b"ping", "the echo");
        stream.cut();
        running.wait_for("stream-error UnexpectedEof").map_err(|failure| Failure(format!("{face}: {failure}")))?;
        stream.rest()?;
    }
    running.stop()
}

fn closed_stream(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let mut running = started(life, |_| {})?;
    for face in ["", "blocking "] {
        running.context.again();
        let mut stream = running.context.connect()?;
        stream.send(running.context.upgrade(&format!("upgrade {face}echo write:bye end")).bytes())?;
        switched(&mut stream)?;
        stream.send("ping")?;
        ensure_eq!(stream.take(4, "the echo")?, b"ping", "the echo");
        stream.finish();
        running.wait_for("stream-end").map_err(|failure| Failure(format!("{face}: {failure}")))?;
        ensure_eq!(stream.take(3, "what was written after that")?, b"bye", "what was written after that");
        stream.ends_in_order()?;
    }
    running.stop()
}
