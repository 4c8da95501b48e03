//! What the application learns beside the request. ENV-01 to ENV-13

use crate::case::{Case, Failure, Group, Level, ensure, ensure_eq};
use crate::context::{Context, Seen};
use crate::lifecycle::{self, Lifecycle};
use crate::setting;
use crate::wire::ask_unix;

use super::UNIX;

/// The group.
pub(crate) static GROUP: Group = Group {
    name: "environment",
    title: "Environment",
    cases: &[
        Case::must("scheme_is_http", "the scheme is the one of the connection", &["ENV-01", "ENV-12"], scheme),
        Case::must("peer_is_the_client", "the client's address and port", &["ENV-02a"], peer),
        Case::owned(
            Level::Must,
            "unix_peer_is_none",
            "a Unix-domain connection has no peer address",
            &["ENV-02b"],
            unix_peer,
        )
        .needs("http1")
        .needs("unix-socket")
        .in_plain(UNIX),
        Case::must("local_is_the_server", "the server's address and actual port", &["ENV-03"], local),
        Case::must("version_is_the_requests", "HTTP/1.1 and HTTP/1.0 are told apart", &["ENV-04"], version),
        Case::must(
            "prefix_is_empty",
            "no mount prefix, and the whole path below it",
            &["ENV-05a", "ENV-05b"],
            no_prefix,
        ),
        Case::must(
            "prefix_and_rest_are_the_path",
            "mount prefix and rest put together are the raw path",
            &["ENV-05a", "ENV-05b"],
            prefix,
        )
        .with(&setting::MOUNTED),
        Case::must("server_tells_who_it_is", "interface version, name and capabilities", &["ENV-06"], who),
        Case::must(
            "capabilities_are_acted_on",
            "what is declared is there, what is not is not",
            &["ENV-06", "INF-01", "UPG-25"],
            capabilities,
        ),
        Case::must("extensions_arrive", "typed values of a middleware reach the application", &["ENV-07"], extensions),
        Case::must("fresh_for_each_request", "nothing of an earlier request", &["ENV-08", "HDR-18"], fresh),
        Case::must("url_can_be_rebuilt", "scheme, Host, path and query as requested", &["ENV-09"], url),
        Case::must("deployed_values_arrive", "values of the deployer are in every environ", &["ENV-10"], deployed),
        Case::must("start_is_an_instant", "between the arrival of the head and the call", &["ENV-11"], start),
        Case::must("facts_are_always_there", "on any request, whatever its form", &["ENV-13"], always).needs("http1"),
    ],
};

fn scheme(cx: &mut Context) -> Result<(), Failure> {
    cx.answered(&cx.get(""), 200)?;
    let call = cx.seen()?.call()?;
    ensure_eq!(call.env("scheme"), cx.scheme(), "the scheme");
    ensure_eq!(call.env("tls"), (cx.scheme() == "https").to_string(), "whether there are TLS facts");
    Ok(())
}

fn peer(cx: &mut Context) -> Result<(), Failure> {
    let (mut connection, _) = cx.answered(&cx.get(""), 200)?;
    let own = connection.local_addr().map_or(String::new(), |address| address.to_string());
    connection.send(cx.get("").bytes())?;
    connection.response("GET")?;
    let calls = cx.seen()?.calls();
    ensure!(calls.iter().all(|call| call.env("peer") == own), "the peer is not {own} in every request");
    Ok(())
}

fn unix_peer(life: &mut Lifecycle<'_>) -> Result<(), Failure> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let path = folder.path().join("socket");
    let mut config = lifecycle::config();
    config.binds.push(adapter_core::Bind::Unix(path.clone()));
    let running = life.start(config)?;
    let answer = ask_unix(&path, &running.context.get("body x").close().bytes())?;
    ensure!(answer.ends_with(b"\r\n\r\nx"), "the response over a Unix socket: {}", crate::text::show(&answer, 300));
    let seen: Seen = running.seen();
    let call = seen.call()?;
    ensure_eq!(call.env("peer"), "none", "the peer address");
    ensure!(call.env("local").contains("socket"), "the local address: {}", call.env("local"));
    running.stop()?;
    ensure!(!path.exists(), "the socket's path is still there after the end");
    Ok(())
}

fn local(cx: &mut Context) -> Result<(), Failure> {
    cx.answered(&cx.get(""), 200)?;
    ensure_eq!(cx.seen()?.call()?.env("local"), cx.address().to_string(), "the local address");
    Ok(())
}

fn version(cx: &mut Context) -> Result<(), Failure> {
    cx.answered(&cx.get(""), 200)?;
    ensure_eq!(cx.seen()?.call()?.version, "HTTP/1.1", "the version");
    cx.again();
    cx.answered(&cx.get("").http10(), 200)?;
    ensure_eq!(cx.seen()?.call()?.version, "HTTP/1.0", "the version");
    Ok(())
}

fn no_prefix(cx: &mut Context) -> Result<(), Failure> {
    for path in ["/", "/a/b", "//", "/a%2Fb"] {
        cx.again();
        cx.answered(&cx.request("GET", path), 200)?;
        let call = cx.seen()?.call()?;
        ensure_eq!(call.env("mount-prefix"), crate::mount::prefix(), "the mount prefix");
        ensure_eq!(call.env("path-info"), path, "the rest of {path}");
    }
    Ok(())
}

fn prefix(cx: &mut Context) -> Result<(), Failure> {
    let inside = ["", "/", "/a/b", "//", "/%2F?x"];
    for rest in inside {
        cx.again();
        let target = format!("{}{rest}", setting::PREFIX);
        cx.answered(&cx.request("GET", &target), 200)?;
        let call = cx.seen()?.call()?;
        ensure_eq!(call.env("mount-prefix"), setting::PREFIX, "the mount prefix");
        ensure_eq!(
            format!("{}{}", call.env("mount-prefix"), call.env("path-info")).as_bytes(),
            &call.path[..],
            "prefix and rest of {target}"
        );
        ensure_eq!(String::from_utf8_lossy(&call.path), target.split('?').next().unwrap_or(""), "the path of {target}");
    }
    // Beside it, where the prefix does not apply: whatever is reported must not be half of it.
    for target in ["/mounted/attic", "/other", "/mounted"] {
        cx.again();
        let (_, response) = cx.exchange(&cx.request("GET", target))?;
        if response.is_from_application() {
            let call = cx.seen()?.call()?;
            ensure_eq!(call.env("path-info"), target, "the rest of {target}");
        }
    }
    Ok(())
}

fn who(cx: &mut Context) -> Result<(), Failure> {
    cx.answered(&cx.get(""), 200)?;
    let call = cx.seen()?.call()?;
    ensure_eq!(call.env("interface"), adapter_core::INTERFACE_VERSION, "the version of the interface");
    ensure!(!call.env("server").is_empty(), "the server has no name");
    Ok(())
}

fn capabilities(cx: &mut Context) -> Result<(), Failure> {
    let about = cx.control("about")?;
    let declared = |name: &str| about.lines().any(|line| line == format!("capability {name} true"));
    cx.answered(&cx.get(""), 200)?;
    let hints = cx.seen()?.call()?.env("early-hints").to_owned();
    ensure_eq!(hints, declared("early-hints").to_string(), "whether early hints are there, as declared");
    cx.again();
    cx.answered(&cx.get("").http10(), 200)?;
    ensure_eq!(cx.seen()?.call()?.env("early-hints"), "false", "whether early hints are there for HTTP/1.0");
    Ok(())
}

fn extensions(cx: &mut Context) -> Result<(), Failure> {
    // The conformance application is its own middleware: its outer part puts a value there, its inner part finds it.
    let (_, response) = cx.answered(&cx.get("middleware; body x"), 200)?;
    ensure_eq!(response.text(), "x", "the body");
    ensure!(cx.seen()?.has("middleware-value conformance"), "the value of the middleware did not arrive");
    Ok(())
}

fn fresh(cx: &mut Context) -> Result<(), Failure> {
    let mut connection = cx.connect()?;
    connection.send(cx.get("extension; body one").bytes())?;
    connection.response("GET")?;
    connection.send(cx.get("body two").bytes())?;
    connection.response("GET")?;
    let calls = cx.seen()?.calls();
    ensure_eq!(calls.len(), 2, "calls");
    ensure_eq!(calls[0].env("extensions"), calls[1].env("extensions"), "extensions of the second request");
    ensure_eq!(calls[1].env("disconnected"), "false", "whether the second request's client is gone");
    Ok(())
}

fn url(cx: &mut Context) -> Result<(), Failure> {
    for target in ["/", "/a%20b//c?d=%41&e", "/?", "/a;b=c?d?e"] {
        cx.again();
        cx.answered(&cx.request("GET", target), 200)?;
        let call = cx.seen()?.call()?;
        let mut rebuilt =
            format!("{}://{}{}", call.env("scheme"), call.texts("host").join(""), String::from_utf8_lossy(&call.path));
        if let Some(query) = &call.query {
            rebuilt.push('?');
            rebuilt.push_str(&String::from_utf8_lossy(query));
        }
        ensure_eq!(rebuilt, format!("{}://conformance.test{target}", cx.scheme()), "the URL");
    }
    Ok(())
}

fn deployed(cx: &mut Context) -> Result<(), Failure> {
    let mut connection = cx.connect()?;
    for _ in 0..3 {
        connection.send(cx.get("").bytes())?;
        connection.response("GET")?;
    }
    let calls = cx.seen()?.calls();
    ensure!(
        calls.iter().all(|call| call.env("deployed") == "by the suite"),
        "the deployed value is not in every environ"
    );
    Ok(())
}

fn start(cx: &mut Context) -> Result<(), Failure> {
    let mut connection = cx.connect()?;
    let request = cx.get("").bytes();
    // A head that arrives late starts late: the instant is not the one of the connection.
    connection.send(&request[..10])?;
    cx.pause(300)?;
    let before = std::time::Instant::now();
    connection.send(&request[10..])?;
    connection.response("GET")?;
    let took = before.elapsed();
    let calls = cx.seen()?.calls();
    let age: u128 = calls.last().and_then(|call| call.env("age-us").parse().ok()).ok_or("no age was recorded")?;
    ensure!(
        age <= took.as_micros(),
        "the request began {age} µs before the call, but its head came {took:?} before the response"
    );
    Ok(())
}

fn always(cx: &mut Context) -> Result<(), Failure> {
    for request in [
        cx.get(""),
        cx.get("").http10(),
        cx.request("OPTIONS", "*"),
        cx.request("HEAD", "/"),
        cx.post("", "x"),
        cx.request("GET", "http://a.example/x"),
    ] {
        let before = cx.seen()?.calls().len();
        cx.exchange(&request)?;
        let call = cx.seen()?.calls().into_iter().nth(before).ok_or("the application was not called")?;
        for fact in ["scheme", "peer", "local", "interface", "server", "age-us", "deployed"] {
            ensure!(!call.env(fact).is_empty(), "{fact} is missing for {}", call.uri);
        }
    }
    Ok(())
}
