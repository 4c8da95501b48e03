//! Bodies with and without lint around the application. Lint makes another body of each, which hides the ways a server
//! has for bodies that are in memory. BOD-01, BOD-18, FRM-03a, FRM-04a, NOB-01a, NOB-05, NOB-06a, REQ-01, REQ-18

use crate::case::{Case, Failure, Group, ensure, ensure_eq};
use crate::context::Context;
use crate::text;

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "unwrapped",
    title: "Bodies without lint",
    cases: &[
        Case::must("bodies_are_intact", "of every kind and size", &["BOD-01", "BOD-17a", "BOD-19"], intact),
        Case::must("many_in_a_row", "pipelined, of changing size", &["BOD-01", "KAP-06"], pipelined),
        Case::must("old_clients_are_served", "HTTP/1.0, with and without keep-alive", &["BOD-01", "FRM-02a"], http10),
        Case::must("excess_is_clamped", "and the connection goes on", &["FRM-03a", "FRM-03c"], excess),
        Case::must("shortfall_is_sent_and_closed", "what there was", &["FRM-04a"], shortfall),
        Case::must(
            "nothing_where_nothing_belongs",
            "HEAD, 204, 304, 205",
            &["NOB-01a", "NOB-01b", "NOB-05", "NOB-06a", "NOB-10"],
            nothing,
        ),
        Case::must("hook_runs_once", "for bodies in memory, too", &["BOD-18"], hook),
        Case::must("request_bodies_are_exact", "read, echoed, left alone", &["REQ-01", "REQ-06", "REQ-18"], requests),
        Case::must("dropped_on_reset", "handlers and bodies", &["BOD-10", "DIS-01c"], reset),
        Case::must("trailers_are_sent", "after bodies of every kind", &["TRL-04"], trailers).needs("trailers"),
    ],
};

/// Without lint, and with it.
const WAYS: [&str; 2] = ["bare; ", ""];

fn intact(cx: &mut Context) -> Result<(), Failure> {
    for way in WAYS {
        let mut connection = cx.connect()?;
        for size in [0, 1, 2, 1000, 4096, 16_384, 65_537, 1 << 20, 10 << 20] {
            for body in [format!("size {size}"), format!("file {size} 0 - -"), format!("blocking; size {size}")] {
                connection.send(cx.get(&format!("{way}{body}")).bytes())?;
                let response = connection.response("GET")?;
                ensure!(response.body == text::pattern(size), "{way}{body}: {} octets came", response.body.len());
                ensure_eq!(response.head.all("content-length"), [size.to_string()], "Content-Length ({way}{body})");
            }
        }
        for body in ["stream", "iter", "channel 1 task", "channel 2 thread", "hinted 0 9"] {
            connection.send(cx.get(&format!("{way}{body} text:one empty text:two size:20000")).bytes())?;
            let response = connection.response("GET")?;
            let expected = [b"onetwo", &text::pattern(20_000)[..]].concat();
            ensure!(response.body == expected, "{way}{body}: {} octets came", response.body.len());
            ensure!(!response.truncated, "the response is not complete ({way}{body})");
        }
    }
    Ok(())
}

fn pipelined(cx: &mut Context) -> Result<(), Failure> {
    let sizes = [5, 0, 70_000, 1, 300_000, 16, 4096, 0, 9];
    for way in WAYS {
        let mut connection = cx.connect()?;
        let requests = sizes.iter().flat_map(|size| cx.get(&format!("{way}size {size}")).bytes()).collect();
        let sending = connection.send_in_background(requests)?;
        for size in sizes {
            let response = connection.response("GET")?;
            ensure!(response.body == text::pattern(size), "{way}{size}: {} octets came", response.body.len());
        }
        sending.finish();
        connection.nothing_arrived("after the last response")?;
    }
    Ok(())
}

fn http10(cx: &mut Context) -> Result<(), Failure> {
    for way in WAYS {
        for body in ["body hello", "stream text:hel text:lo", "body"] {
            let (mut connection, response) = cx.answered(&cx.get(&format!("{way}{body}")).http10(), 200)?;
            ensure_eq!(response.text(), if body == "body" { "" } else { "hello" }, "the body ({way}{body})");
            ensure!(!response.head.has("transfer-encoding"), "chunks for HTTP/1.0 ({way}{body})");
            connection.closed()?;
        }
        let mut connection = cx.connect()?;
        for _ in 0..3 {
            let request = cx.get(&format!("{way}body hello")).http10().field("connection", "keep-alive");
            connection.send(request.bytes())?;
            ensure_eq!(connection.response("GET")?.text(), "hello", "a response on a kept connection ({way})");
        }
    }
    Ok(())
}

fn excess(cx: &mut Context) -> Result<(), Failure> {
    for way in WAYS {
        let mut connection = cx.connect()?;
        for (length, body) in
            [(4, "body hello"), (0, "body hello"), (4, "stream text:hel text:lo"), (2, "iter text:hel")]
        {
            connection.send(cx.get(&format!("{way}header content-length {length}; {body}")).bytes())?;
            let response = connection.response("GET")?;
            ensure_eq!(response.text(), "hello"[..length], "a body that is too long ({way}{body})");
            connection.send(cx.get("body next").bytes())?;
            ensure_eq!(connection.response("GET")?.text(), "next", "the next response ({way}{body})");
        }
    }
    Ok(())
}

fn shortfall(cx: &mut Context) -> Result<(), Failure> {
    for way in WAYS {
        for body in ["body hello", "body", "stream text:hel text:lo", "iter text:hello"] {
            let mut connection = cx.connect()?;
            connection.send(cx.get(&format!("{way}header content-length 9; {body}")).bytes())?;
            connection.send(cx.request("GET", "/next").script("body next").bytes())?;
            let response = connection.response("GET")?;
            ensure!(response.truncated, "a body that is too short seems complete ({way}{body})");
            ensure_eq!(response.text(), if body == "body" { "" } else { "hello" }, "what there was ({way}{body})");
        }
    }
    Ok(())
}

fn nothing(cx: &mut Context) -> Result<(), Failure> {
    for way in WAYS {
        let mut connection = cx.connect()?;
        for body in ["body hello", "size 100000", "stream text:hello", "file 5 0 - -"] {
            connection.send(cx.request("HEAD", "/").script(&format!("{way}{body}")).bytes())?;
            let length = connection.response("HEAD")?.head.get("content-length");
            let expected = match body {
                "size 100000" => Some("100000"),
                "stream text:hello" => None,
                _ => Some("5"),
            };
            ensure_eq!(length.as_deref(), expected, "Content-Length in answer to HEAD ({way}{body})");
            for status in [204, 304, 205] {
                connection.send(cx.get(&format!("{way}status {status}; {body}")).bytes())?;
                let response = connection.response("GET")?;
                ensure_eq!((response.status(), response.body.len()), (status, 0), "status and octets ({way}{body})");
                let length = response.head.get("content-length");
                ensure!(status != 204 || length.is_none(), "a 204 with Content-Length ({way}{body})");
            }
            // Octets that do not belong would be taken for this.
            connection.send(cx.get("body next").bytes())?;
            ensure_eq!(connection.response("GET")?.text(), "next", "the next response ({way}{body})");
        }
    }
    Ok(())
}

fn hook(cx: &mut Context) -> Result<(), Failure> {
    for way in WAYS {
        for (body, octets) in [("body hello", 5), ("body", 0), ("size 300000", 300_000), ("stream text:hello", 5)] {
            cx.again();
            cx.answered(&cx.get(&format!("{way}{body}; hook")), 200)?;
            let seen = cx.wait_for("hook")?;
            ensure_eq!(seen.details("hook"), [format!("complete {octets}")], "the hook ({way}{body})");
        }
    }
    Ok(())
}

fn requests(cx: &mut Context) -> Result<(), Failure> {
    for way in WAYS {
        for face in ["", "blocking; "] {
            for size in [0, 1, 5000, 100_000, 1 << 20] {
                let body = text::pattern(size);
                cx.again();
                let mut connection = cx.connect()?;
                let request = cx.post(&format!("{way}{face}length; read; body done"), &body);
                let sending = connection.send_in_background(request.bytes())?;
                ensure_eq!(connection.response("POST")?.text(), "done", "the response ({way}{face}{size})");
                sending.finish();
                let seen = cx.seen()?;
                seen.read_all(&body)?;
                ensure_eq!(seen.details("length"), [size.to_string()], "the length ({way}{face})");
                let chunks: Vec<&[u8]> = body.chunks(7000).collect();
                let request = cx.request("POST", "/").script(&format!("{way}{face}echo")).chunked(&chunks);
                let sending = connection.send_in_background(request.bytes())?;
                ensure!(connection.response("POST")?.body == body, "an echo was altered ({way}{face}{size})");
                sending.finish();
            }
            // What is left alone is no request.
            let mut connection = cx.connect()?;
            connection.send(cx.post(&format!("{way}{face}body done"), "GET / HTTP/1.1\r\n\r\n").bytes())?;
            connection.send(cx.get("body next").bytes())?;
            ensure_eq!(connection.response("POST")?.text(), "done", "the response to a body left alone ({way}{face})");
            if !connection.peek_end()? {
                ensure_eq!(connection.response("GET")?.text(), "next", "the next response ({way}{face})");
            }
        }
    }
    Ok(())
}

fn reset(cx: &mut Context) -> Result<(), Failure> {
    for way in WAYS {
        for (script, event) in [
            ("gate never", "handler-cancelled"),
            ("stream text:x gate:never", "body-dropped"),
            ("stream forever:size:65536", "body-dropped"),
            ("iter forever:size:65536", "body-dropped"),
        ] {
            cx.again();
            let mut connection = cx.connect()?;
            connection.send(cx.get(&format!("{way}{script}")).bytes())?;
            cx.wait_for(if event == "body-dropped" { "asked" } else { "at never" })?;
            connection.reset();
            cx.wait_for(event).map_err(|failure| Failure(format!("{way}{script}: {failure}")))?;
        }
    }
    Ok(())
}

fn trailers(cx: &mut Context) -> Result<(), Failure> {
    for way in WAYS {
        let mut connection = cx.connect()?;
        for body in ["body hello", "stream text:hello", "iter text:hello", "file 5 0 - -"] {
            let script = format!("{way}header trailer x-sum; {body}; trailers x-sum abc");
            connection.send(cx.get(&script).field("te", "trailers").bytes())?;
            let response = connection.response("GET")?;
            ensure_eq!(response.body.len(), 5, "octets of the body ({way}{body})");
            ensure_eq!(response.trailers, [("x-sum".to_owned(), b"abc".to_vec())], "the trailers ({way}{body})");
        }
    }
    Ok(())
}
