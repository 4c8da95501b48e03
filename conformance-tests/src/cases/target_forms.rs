//! The four forms of a target, and fragments. TGT-10 to TGT-17, TGT-27

use crate::case::{Case, Failure, Group, ensure, ensure_eq};
use crate::context::Context;

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "target_forms",
    title: "Forms of the target",
    cases: &[
        Case::must(
            "absolute_form_is_accepted",
            "http and https URIs arrive in origin-form",
            &["TGT-10a", "TGT-27"],
            absolute_form,
        ),
        Case::must(
            "authority_replaces_host",
            "the target's authority wins over Host",
            &["TGT-10b"],
            authority_replaces_host,
        ),
        Case::must(
            "absolute_form_needs_host",
            "absolute-form without Host is answered 400",
            &["HDR-06"],
            absolute_without_host,
        ),
        Case::must(
            "empty_path_is_slash",
            "an absolute-form target without a path asks for /",
            &["TGT-11", "TGT-27"],
            empty_path,
        ),
        Case::must("asterisk_reaches_application", "OPTIONS * arrives as *", &["TGT-12", "TGT-27"], asterisk),
        Case::must("asterisk_is_for_options", "* with another method is answered 400", &["TGT-13"], asterisk_get),
        Case::must(
            "authority_form_is_for_connect",
            "authority-form elsewhere, and CONNECT without it, are answered 400",
            &["TGT-14"],
            authority_form,
        ),
        Case::must(
            "connect_is_decided",
            "CONNECT arrives with its authority, or is answered 501 or 405",
            &["TGT-15a"],
            connect,
        ),
        Case::must(
            "connect_2xx_has_no_framing",
            "a 2xx to CONNECT has no framing fields and ends the connection",
            &["TGT-15b", "TGT-15c"],
            connect_2xx,
        ),
        Case::must(
            "relative_target_is_refused",
            "a target without a leading slash is answered 400",
            &["TGT-16"],
            relative,
        ),
        Case::must(
            "fragment_is_not_delivered",
            "a fragment never reaches the application",
            &["TGT-17a"],
            fragment_not_delivered,
        ),
        Case::should("fragment_is_refused", "a target with # is answered 400", &["TGT-17b"], fragment_refused),
    ],
};

fn absolute_form(cx: &mut Context) -> Result<(), Failure> {
    for (target, uri) in [
        ("http://conformance.test/a/b?c=d", "/a/b?c=d"),
        ("https://conformance.test/x", "/x"),
        ("HTTP://conformance.test:81/%41?", "/%41?"),
        ("http://conformance.test//a", "//a"),
    ] {
        cx.again();
        cx.answered(&cx.request("GET", target), 200)?;
        ensure_eq!(cx.seen()?.call()?.uri, uri, "request.uri() for {target}");
    }
    Ok(())
}

fn authority_replaces_host(cx: &mut Context) -> Result<(), Failure> {
    let mut connection = cx.connect()?;
    connection.send(cx.raw("GET http://right.example:81/ HTTP/1.1\r\nhost: wrong.example\r\n{t}\r\n"))?;
    ensure_eq!(connection.response("GET")?.status(), 200, "the status");
    let hosts = cx.seen()?.call()?.texts("host");
    ensure_eq!(hosts, ["right.example:81"], "the Host field delivered");
    // The scheme is the one of the connection, whatever the target says.
    ensure_eq!(cx.seen()?.call()?.env("scheme"), cx.scheme(), "the scheme");
    Ok(())
}

fn absolute_without_host(cx: &mut Context) -> Result<(), Failure> {
    cx.refused("GET http://a.example/ HTTP/1.1\r\n{t}\r\n", &[400]).map(drop)
}

fn empty_path(cx: &mut Context) -> Result<(), Failure> {
    for (target, uri) in [("http://a.example", "/"), ("http://a.example?q=1", "/?q=1"), ("http://a.example:80", "/")] {
        cx.again();
        cx.answered(&cx.request("GET", target), 200)?;
        let call = cx.seen()?.call()?;
        ensure_eq!(String::from_utf8_lossy(&call.path), "/", "the path of {target}");
        ensure_eq!(call.uri, uri, "request.uri() for {target}");
    }
    Ok(())
}

fn asterisk(cx: &mut Context) -> Result<(), Failure> {
    cx.answered(&cx.request("OPTIONS", "*"), 200)?;
    let call = cx.seen()?.call()?;
    ensure_eq!(call.uri, "*", "request.uri() of OPTIONS *");
    ensure_eq!(String::from_utf8_lossy(&call.path), "*", "its path");
    Ok(())
}

fn asterisk_get(cx: &mut Context) -> Result<(), Failure> {
    for line in ["GET *", "POST *", "HEAD *", "BREW *", "OPTIONS *a", "OPTIONS */"] {
        refused_line(cx, line)?;
    }
    Ok(())
}

/// A request with this beginning of its request line is refused with 400.
fn refused_line(cx: &mut Context, line: &str) -> Result<(), Failure> {
    let refused = if line.starts_with("HEAD") {
        // The answer to HEAD has no body, so it is read to its end by the close.
        cx.refused_or_closed(format!("{line} HTTP/1.1\r\nhost: a\r\n{{t}}\r\n"), &[400])
    } else {
        cx.refused(format!("{line} HTTP/1.1\r\nhost: a\r\n{{t}}\r\n"), &[400]).map(drop)
    };
    refused.map_err(|failure| Failure(format!("{line:?}: {failure}")))
}

fn authority_form(cx: &mut Context) -> Result<(), Failure> {
    for line in ["GET a.example:443", "POST a.example:80", "OPTIONS a.example:443", "GET [::1]:80"] {
        refused_line(cx, line)?;
    }
    for line in ["CONNECT /", "CONNECT *", "CONNECT /a.example:443"] {
        // A server that does not do CONNECT at all may say so first.
        cx.refused(format!("{line} HTTP/1.1\r\nhost: a\r\n{{t}}\r\n"), &[400, 405, 501])
            .map_err(|failure| Failure(format!("{line:?}: {failure}")))?;
    }
    Ok(())
}

fn connect(cx: &mut Context) -> Result<(), Failure> {
    let (_, response) = cx.exchange(&cx.request("CONNECT", "a.example:443").script("status 403; body no"))?;
    if response.is_from_application() {
        ensure_eq!(response.status(), 403, "the application's answer to CONNECT");
        ensure_eq!(response.text(), "no", "its body");
        ensure_eq!(cx.seen()?.call()?.uri, "a.example:443", "the target of CONNECT");
        return Ok(());
    }
    ensure!(matches!(response.status(), 501 | 405), "expected 501 or 405, seen {}", response.status());
    cx.not_called()
}

fn connect_2xx(cx: &mut Context) -> Result<(), Failure> {
    for script in [
        "status 200",
        "status 200; body ignored",
        "status 200; stream text:ignored",
        "status 204; header content-length 7",
    ] {
        cx.again();
        let mut connection = cx.connect()?;
        connection.send(cx.request("CONNECT", "a.example:443").script(script).bytes())?;
        let head = connection.head()?;
        if head.status / 100 != 2 {
            ensure!(matches!(head.status, 501 | 405), "expected 2xx, 501 or 405, seen {}", head.status);
            return Ok(());
        }
        for name in ["content-length", "transfer-encoding"] {
            ensure!(!head.has(name), "{name} in a {} to CONNECT ({script})", head.status);
        }
        // Tunnelled octets that look like a request are never served as one.
        let _ = connection.send(cx.request("GET", "/smuggled").bytes());
        connection.closed()?;
        let calls = cx.seen()?.calls();
        ensure!(calls.iter().all(|call| call.method == "CONNECT"), "tunnelled octets were served as a request");
    }
    Ok(())
}

fn relative(cx: &mut Context) -> Result<(), Failure> {
    for line in ["GET foo", "GET foo/bar", "GET ?a", "GET .", "GET ../a", "POST a?b"] {
        refused_line(cx, line)?;
    }
    Ok(())
}

fn fragment_not_delivered(cx: &mut Context) -> Result<(), Failure> {
    for target in ["/a#secret", "/a?b#secret", "/#secret?x", "http://a.example/a#secret"] {
        cx.again();
        let (_, response) = cx.exchange(&cx.request("GET", target))?;
        ensure!(matches!(response.status(), 200 | 400), "expected 200 or 400, seen {}", response.status());
        for call in cx.seen()?.calls() {
            let query = call.query.clone().unwrap_or_default();
            let seen =
                format!("{} {} {}", call.uri, String::from_utf8_lossy(&call.path), String::from_utf8_lossy(&query));
            ensure!(!seen.contains('#') && !seen.contains("secret"), "the fragment of {target} arrived: {seen}");
        }
    }
    Ok(())
}

fn fragment_refused(cx: &mut Context) -> Result<(), Failure> {
    for target in ["/a#b", "/#", "/a?b#c", "http://a.example/#x"] {
        refused_line(cx, &format!("GET {target}"))?;
    }
    Ok(())
}
