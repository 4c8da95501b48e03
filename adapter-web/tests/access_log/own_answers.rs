//! What is told of a request that the server has answered in the application's place: the same on every server, over HTTP/1.1 and HTTP/2.

use super::*;

/// So many octets of a body, and whether there is more to come.
type Upload = Option<(usize, bool)>;
/// By which it is named.
const ID: &str = "its-own";
type Case = (&'static str, &'static str, Upload, u16, &'static str);

/// What is asked; status and reason.
const CASES: [Case; 9] = [
    ("GET", "/never", None, 503, "the application did not answer in time (--timeout-handler)"),
    ("GET", "/late/blocking", None, 503, "the application did not answer in time (--timeout-handler)"),
    ("POST", "/echo?slow", Some((3, true)), 408, "the request body did not arrive in time"),
    ("POST", "/echo?large", Some((2048, false)), 413, "the request body is larger than 1024 bytes"),
    ("GET", "/panic", None, 500, "the application panicked: no"),
    ("GET", "/panic/blocking", None, 500, "the application panicked: no"),
    ("GET", "/error", None, 418, "no"),
    ("GET", "/error/blocking", None, 500, "no: because"),
    (
        "GET",
        "/impossible",
        None,
        500,
        "the application's response can't be sent: [NOB-08] an informational status as the final one",
    ),
];

#[derive(Debug)]
struct No(io::Error);

impl std::fmt::Display for No {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no")
    }
}

impl std::error::Error for No {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

async fn failing(request: Request, environ: Environ) -> Result<Response, Error> {
    if !request.uri().path().ends_with("/blocking") {
        return application(request, environ).await;
    }
    let blocking = adapter_web::blocking(|request, _| match request.uri().path() {
        "/panic/blocking" => panic!("no"),
        "/late/blocking" => {
            std::thread::sleep(Duration::from_millis(600));
            Ok(Response::new(Body::from("late")))
        }
        _ => Err(Error::new(No(io::Error::other("because")))),
    });
    blocking.call(request, environ).await
}

fn config() -> ServerConfig {
    let mut config = wire::config();
    config.limits.body_bytes = Some(1024);
    config.timeouts.handler = Some(Duration::from_millis(400));
    config.timeouts.body_read = Some(Duration::from_millis(100));
    config
}

/// Over HTTP/1.1, one connection for each; the status.
fn ask(addr: SocketAddr, method: &str, target: &str, body: Upload) -> u16 {
    let mut asked = format!("{method} {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Request-Id: {ID}\r\n");
    match body {
        Some((octets, more)) => {
            let end = if more { "" } else { "0\r\n\r\n" };
            let chunk = format!("{octets:x}\r\n{}\r\n{end}", "x".repeat(octets));
            asked.push_str(&format!("Transfer-Encoding: chunked\r\n\r\n{chunk}"));
        }
        None => asked.push_str("\r\n"),
    }
    let answer = exchange(addr, asked.as_bytes());
    assert!(answer.contains(&format!("\r\nx-request-id: {ID}\r\n")), "{target}: {answer}");
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

/// The same over HTTP/2.
fn ask_by_http2(addr: SocketAddr, method: &str, target: &str, body: Upload) -> u16 {
    let (status, id, _) = answer_by_http2(addr, method, target, body);
    assert_eq!(id.as_deref(), Some(ID), "{target}");
    status
}

/// The answer over HTTP/2: status, id and body.
pub(super) fn answer_by_http2(
    addr: SocketAddr,
    method: &str,
    target: &str,
    body: Upload,
) -> (u16, Option<String>, String) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let socket = tokio::net::TcpStream::connect(addr).await.unwrap();
        let (mut client, connection) = h2::client::handshake(socket).await.unwrap();
        let connection = tokio::spawn(connection);
        let request = http::Request::builder().method(method).uri(format!("http://a{target}"));
        let request = request.header("x-request-id", ID).body(()).unwrap();
        let (response, mut stream) = client.send_request(request, body.is_none()).unwrap();
        if let Some((octets, more)) = body {
            stream.send_data(vec![b'x'; octets].into(), !more).unwrap();
        }
        let mut response = response.await.unwrap();
        let status = response.status().as_u16();
        let id = response.headers().get("x-request-id").map(|id| id.to_str().unwrap().to_owned());
        let mut body = Vec::new();
        while let Some(Ok(piece)) = response.body_mut().data().await {
            body.extend(piece);
        }
        drop((client, stream, response));
        let _ = connection.await;
        (status, id, String::from_utf8(body).unwrap())
    })
}

#[test]
fn the_line_says_what_the_server_has_answered_for() {
    for server in adapter_web::servers() {
        let info = server.info();
        for by_http2 in [false, true] {
            if by_http2 && !info.capabilities.http2 {
                continue;
            }
            let ask = if by_http2 { ask_by_http2 } else { ask };
            let lines = whole_lines(server, config(), Format::Json, failing, |addr| {
                for (method, target, body, status, _) in CASES {
                    assert_eq!(ask(addr, method, target, body), status, "{target} on {}", info.name);
                }
            });
            let mut said: Vec<_> = lines
                .iter()
                .map(|line| object(line))
                .map(|line| format!("{} {} {} {}", line["target"], line["status"], line["ended"], line["reason"]))
                .collect();
            said.sort_unstable();
            let mut expected: Vec<_> = CASES
                .iter()
                .map(|(_, target, _, status, reason)| format!("{target:?} {status} \"complete\" {reason:?}"))
                .collect();
            expected.sort_unstable();
            assert_eq!(said, expected, "{}, HTTP/2: {by_http2}", info.name);
        }
    }
}
