use std::fs;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::*;
use crate::testing::{Answer, Client};

/// A folder to serve: settled, so that its tags are strong.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for (name, text) in [
        ("index.html", "<p>index"),
        ("hello.txt", "0123456789"),
        ("app.js", "plain"),
        ("app.js.br", "brotli"),
        ("app.js.gz", "gzipped"),
        ("data", "\u{1}\u{2}"),
        ("empty.css", ""),
        ("sub/index.html", "<p>sub"),
        ("sub/a b.txt", "blank"),
        ("bare/x<y>&\"z.txt", "odd"),
        (".secret", "secret"),
        (".well-known/security.txt", "Contact"),
        ("only.svg.br", "orphan"),
    ] {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        let file = fs::File::options().append(true).open(&path).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)).unwrap();
    }
    folder
}

/// What an event loop does, and what threads do.
fn clients(site: &Directory) -> [Client; 2] {
    [Client::new(site.clone()), Client::new(site.clone()).on_threads()]
}

fn told(answer: &Answer) -> String {
    format!("{} {}", answer.status().as_u16(), answer.text())
}

#[test]
fn what_is_there_is_sent_and_what_is_not_is_404() {
    let folder = folder();
    for client in clients(&Directory::new(folder.path()).unwrap()) {
        for (path, expected) in [
            ("/", "200 <p>index"),
            ("/hello.txt", "200 0123456789"),
            ("/hello.txt?v=1", "200 0123456789"),
            ("/empty.css", "200 "),
            ("/sub/", "200 <p>sub"),
            ("/sub/a%20b.txt", "200 blank"),
            ("/.well-known/security.txt", "200 Contact"),
            ("/app.js.br", "200 brotli"),
            ("/none", "404 Not Found\n"),
            ("/hello.txt/", "404 Not Found\n"),
            ("/hello.txt/x", "404 Not Found\n"),
            ("/bare/", "404 Not Found\n"),
            ("/.secret", "404 Not Found\n"),
            ("/only.svg", "404 Not Found\n"),
            ("/sub//index.html", "404 Not Found\n"),
            ("/%2e%2e/hello.txt", "404 Not Found\n"),
            ("/hello%00.txt", "404 Not Found\n"),
        ] {
            assert_eq!(told(&client.get(path).send()), expected, "{path}");
        }
        let long = format!("/{}", "a".repeat(3000));
        assert_eq!(client.get(&long).send().status(), 404);
        let answer = client.get("/hello.txt").send();
        for (name, expected) in [
            ("content-type", "text/plain; charset=utf-8"),
            ("content-length", "10"),
            ("accept-ranges", "bytes"),
            ("last-modified", "Tue, 14 Nov 2023 22:13:20 GMT"),
        ] {
            assert_eq!(answer.header(name), Some(expected), "{name}");
        }
        assert!(answer.header("etag").is_some_and(|tag| tag.starts_with('"')), "{:?}", answer.header("etag"));
        assert_eq!((answer.header("vary"), answer.header("cache-control")), (None, None));
        assert_eq!(client.get("/data").send().header("content-type"), Some("application/octet-stream"));
        let head = client.head("/hello.txt").send();
        assert_eq!(
            (head.status().as_u16(), head.text().as_str(), head.header("content-length")),
            (200, "", Some("10"))
        );
        let post = client.post("/hello.txt", "x").send();
        assert_eq!((post.status().as_u16(), post.header("allow")), (405, Some("GET, HEAD")));
    }
}

#[test]
fn a_folder_without_its_slash_is_a_step_away() {
    let folder = folder();
    let [client, _] = clients(&Directory::new(folder.path()).unwrap());
    let answer = client.get("/sub?a=b").send();
    assert_eq!((answer.status().as_u16(), answer.header("location")), (307, Some("./sub/?a=b")));
    let site = Directory::new(folder.path()).unwrap();
    let mounted = move |request: Request, environ: Environ| {
        let site = site.clone();
        async move { Application::call(&site, request, environ.mounted_at("/static")).await }
    };
    let client = Client::new(mounted);
    assert_eq!(told(&client.get("/static/hello.txt").send()), "200 0123456789");
    assert_eq!(told(&client.get("/static/").send()), "200 <p>index");
    assert_eq!(client.get("/static").send().header("location"), Some("./static/"));
    assert_eq!(client.get("/static/sub").send().header("location"), Some("./sub/"));
}

/// As `Location` is taken from the path that was asked for, nobody is to be sent elsewhere by it. CWE-601
#[test]
fn a_redirect_stays_here() {
    let folder = folder();
    fs::create_dir_all(folder.path().join("evil.example")).unwrap();
    fs::create_dir_all(folder.path().join("javascript:x")).unwrap();
    let [client, _] = clients(&Directory::new(folder.path()).unwrap());
    assert_eq!(client.get("//evil.example").send().status(), 404);
    assert_eq!(client.get("/evil.example").send().header("location"), Some("./evil.example/"));
    assert_eq!(client.get("/javascript:x").send().header("location"), Some("./javascript:x/"));
}

#[test]
fn a_client_that_has_it_keeps_it() {
    let folder = folder();
    for client in clients(&Directory::new(folder.path()).unwrap().immutable("*.txt")) {
        let tag = client.get("/hello.txt").send().header("etag").unwrap().to_owned();
        let kept = client.get("/hello.txt").header("if-none-match", &tag).send();
        assert_eq!(told(&kept), "304 ");
        assert_eq!(kept.header("etag"), Some(tag.as_str()));
        assert!(kept.header("cache-control").is_some() && kept.header("content-type").is_none());
        let date = "Tue, 14 Nov 2023 22:13:20 GMT";
        assert_eq!(client.get("/hello.txt").header("if-modified-since", date).send().status(), 304);
        assert_eq!(client.get("/hello.txt").header("if-match", "\"x\"").send().status(), 412);
        assert_eq!(client.head("/hello.txt").header("if-none-match", &tag).send().status(), 304);
        fs::write(folder.path().join("hello.txt"), "0123456789").unwrap();
        assert_eq!(client.get("/hello.txt").header("if-none-match", &tag).send().status(), 200, "it was written again");
        let file = fs::File::options().append(true).open(folder.path().join("hello.txt")).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)).unwrap();
    }
}

#[test]
fn parts() {
    let folder = folder();
    for client in clients(&Directory::new(folder.path()).unwrap()) {
        let get = |range: &str| client.get("/hello.txt").header("range", range).send();
        let one = get("bytes=2-4");
        assert_eq!(told(&one), "206 234");
        assert_eq!((one.header("content-range"), one.header("content-length")), (Some("bytes 2-4/10"), Some("3")));
        assert_eq!(told(&get("bytes=-2")), "206 89");
        assert_eq!(told(&get("bytes=8-")), "206 89");
        assert_eq!(told(&get("nonsense")), "200 0123456789");
        let beyond = get("bytes=10-");
        assert_eq!((beyond.status().as_u16(), beyond.header("content-range")), (416, Some("bytes */10")));
        let head = client.head("/hello.txt").header("range", "bytes=2-4").send();
        assert_eq!(
            (head.status().as_u16(), head.header("content-length")),
            (200, Some("10")),
            "RFC 9110 §14.2: for GET alone"
        );
        let tag = client.get("/hello.txt").send().header("etag").unwrap().to_owned();
        assert_eq!(client.get("/hello.txt").header("range", "bytes=2-4").header("if-range", &tag).send().status(), 206);
        assert_eq!(
            client.get("/hello.txt").header("range", "bytes=2-4").header("if-range", "\"x\"").send().status(),
            200
        );
        // 304 comes before 206.
        assert_eq!(
            client.get("/hello.txt").header("range", "bytes=2-4").header("if-none-match", &tag).send().status(),
            304
        );
    }
}

/// RFC 9110 §14.6, read as a client has to.
#[test]
fn several_parts() {
    let folder = folder();
    let text: String = ('a'..='z').cycle().take(1000).collect();
    fs::write(folder.path().join("long.txt"), &text).unwrap();
    for client in clients(&Directory::new(folder.path()).unwrap()) {
        let answer = client.get("/long.txt").header("range", "bytes=700-709,0-4").send();
        assert_eq!(answer.status(), 206);
        assert_eq!(answer.header("content-range"), None);
        let body = answer.text();
        assert_eq!(answer.header("content-length").unwrap().parse::<usize>().unwrap(), body.len());
        let boundary = answer.header("content-type").unwrap().strip_prefix("multipart/byteranges; boundary=").unwrap();
        let delimiter = format!("--{boundary}");
        let mut parts = body.split(&delimiter);
        assert_eq!(parts.next(), Some("\r\n"));
        let part = |range: &str, text: &str| {
            format!(
                "\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-range: bytes {range}/1000\r\n\r\n{text}\r\n"
            )
        };
        assert_eq!(parts.next(), Some(part("700-709", &text[700..710]).as_str()));
        assert_eq!(parts.next(), Some(part("0-4", &text[..5]).as_str()));
        assert_eq!((parts.next(), parts.next()), (Some("--\r\n"), None));
    }
}

#[test]
fn smaller_where_the_client_can_read_it() {
    let folder = folder();
    let site = Directory::new(folder.path()).unwrap();
    let [plain, _] = clients(&site);
    assert_eq!(told(&plain.get("/app.js").header("accept-encoding", "br").send()), "200 plain");
    for client in clients(&site.precompressed()) {
        let get = |accept: &str| client.get("/app.js").header("accept-encoding", accept).send();
        let best = get("gzip, br");
        assert_eq!(told(&best), "200 brotli");
        for (name, expected) in [
            ("content-encoding", "br"),
            ("vary", "accept-encoding"),
            ("content-type", "text/javascript; charset=utf-8"),
        ] {
            assert_eq!(best.header(name), Some(expected), "{name}");
        }
        assert_eq!(told(&get("gzip")), "200 gzipped");
        let whole = get("zstd");
        assert_eq!((told(&whole).as_str(), whole.header("content-encoding")), ("200 plain", None));
        assert_eq!(whole.header("vary"), Some("accept-encoding"), "caches have to know");
        assert_ne!(best.header("etag"), whole.header("etag"));
        let tag = best.header("etag").unwrap().to_owned();
        let kept = client.get("/app.js").header("accept-encoding", "br").header("if-none-match", &tag).send();
        assert_eq!((kept.status().as_u16(), kept.header("vary")), (304, Some("accept-encoding")));
        assert_eq!(told(&client.get("/only.svg").header("accept-encoding", "br").send()), "404 Not Found\n");
        let part = client.get("/app.js").header("accept-encoding", "br").header("range", "bytes=0-1").send();
        assert_eq!((told(&part).as_str(), part.header("content-encoding")), ("206 br", Some("br")));
    }
}

#[test]
fn what_is_missing_can_be_the_program() {
    let folder = folder();
    let [client, _] = clients(&Directory::new(folder.path()).unwrap().fallback("index.html"));
    assert_eq!(told(&client.get("/users/7").header("accept", "text/html,*/*;q=0.8").send()), "200 <p>index");
    assert_eq!(client.get("/missing.js").header("accept", "*/*").send().status(), 404);
    assert_eq!(told(&client.get("/hello.txt").header("accept", "text/html").send()), "200 0123456789");
}

#[test]
fn a_list_only_where_it_is_wanted() {
    let folder = folder();
    let [client, _] = clients(&Directory::new(folder.path()).unwrap().listing());
    assert_eq!(told(&client.get("/sub/").send()), "200 <p>sub", "an index comes first");
    let page = client.get("/bare/").send();
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    let text = page.text();
    let link = "<li><a href=\"./x%3Cy%3E%26%22z.txt\">x&lt;y&gt;&amp;&quot;z.txt</a>";
    assert!(text.contains(link) && text.contains("\"../\""), "{text}");
    assert_eq!(told(&client.get("/bare/x%3Cy%3E%26%22z.txt").send()), "200 odd");
    let [client, _] = clients(&Directory::new(folder.path()).unwrap().listing().index(None));
    let text = client.get("/").send().text();
    assert!(text.contains("./sub/\">sub/") && !text.contains("secret") && !text.contains("../"), "{text}");
}

#[cfg(unix)]
#[test]
fn links_are_followed_within_and_not_out() {
    use std::os::unix::fs::symlink;
    let (folder, outside) = (folder(), folder());
    let root = folder.path();
    symlink(outside.path().join("hello.txt"), root.join("out.txt")).unwrap();
    symlink(outside.path(), root.join("out")).unwrap();
    symlink("hello.txt", root.join("in.txt")).unwrap();
    symlink("../hello.txt", root.join("sub/up.txt")).unwrap();
    symlink("circle", root.join("circle")).unwrap();
    symlink(outside.path().join("hello.txt"), root.join("hello.txt.gz")).unwrap();
    symlink("nowhere", root.join("dangling")).unwrap();
    let [client, _] = clients(&Directory::new(root).unwrap().precompressed());
    for (path, expected) in [
        ("/in.txt", "200 0123456789"),
        ("/sub/up.txt", "200 0123456789"),
        ("/out.txt", "404 Not Found\n"),
        ("/out/hello.txt", "404 Not Found\n"),
        ("/out/", "404 Not Found\n"),
        ("/out", "404 Not Found\n"),
        ("/dangling", "404 Not Found\n"),
    ] {
        assert_eq!(told(&client.get(path).send()), expected, "{path}");
    }
    let answer = client.get("/hello.txt").header("accept-encoding", "gzip").send();
    assert_eq!((told(&answer).as_str(), answer.header("content-encoding")), ("200 0123456789", None));
    // A variant may be a link that ends inside.
    symlink("../other.br", root.join("sub/up.txt.br")).unwrap();
    std::fs::write(root.join("other.br"), "smaller").unwrap();
    assert_eq!(told(&client.get("/sub/up.txt").header("accept-encoding", "br").send()), "200 smaller");
    assert_eq!(client.get("/circle").send().status(), 404);
    // A list has what is served, and nothing else.
    made_fifo(root);
    let [client, _] = clients(&Directory::new(root).unwrap().listing().index(None));
    let list = client.get("/").send().text();
    for name in ["in.txt", "sub/", "hello.txt"] {
        assert!(list.contains(&format!("\"./{name}\"")), "{name}: {list}");
    }
    for name in ["out", "circle", "dangling", "hello.txt.gz", "fifo"] {
        assert!(!list.contains(&format!("\"./{name}")), "{name}: {list}");
    }
    // The root itself may be a link.
    let link = outside.path().join("link");
    symlink(root, &link).unwrap();
    let [client, _] = clients(&Directory::new(&link).unwrap());
    assert_eq!(told(&client.get("/hello.txt").send()), "200 0123456789");
}

/// What is put in the way after the path was looked at is not followed, and not waited for.
#[cfg(unix)]
#[test]
fn what_comes_in_between_is_not_opened() {
    use std::os::unix::fs::symlink;
    let (folder, outside) = (folder(), folder());
    let (root, outside) = (folder.path().canonicalize().unwrap(), outside.path().canonicalize().unwrap());
    let opened = |path: &str| unlinked::open(&root, &root.join(path)).unwrap().is_some();
    assert!(opened("hello.txt") && opened("sub/index.html"));
    fs::rename(root.join("sub"), root.join("was")).unwrap();
    symlink(outside.join("sub"), root.join("sub")).unwrap();
    fs::remove_file(root.join("hello.txt")).unwrap();
    symlink(outside.join("hello.txt"), root.join("hello.txt")).unwrap();
    assert!(!opened("hello.txt") && !opened("sub/index.html") && !opened("none") && !opened("app.js/x"));
    let file = unlinked::open(&root, &made_fifo(&root)).unwrap().expect("it is opened, and nobody writes to it");
    assert!(!file.metadata().unwrap().is_file());
}

/// By a command that POSIX has.
#[cfg(unix)]
fn made_fifo(root: &Path) -> PathBuf {
    let fifo = root.join("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success(), "mkfifo: {made}");
    fifo
}

/// A variant that is of no use takes nothing from who can do without.
#[cfg(unix)]
#[test]
fn a_variant_that_cannot_be_read_is_none() {
    let folder = folder();
    std::os::unix::fs::symlink("app.js.zst", folder.path().join("app.js.zst")).unwrap();
    fs::create_dir(folder.path().join("hello.txt.br")).unwrap();
    let [client, _] = clients(&Directory::new(folder.path()).unwrap().precompressed());
    assert_eq!(told(&client.get("/app.js").header("accept-encoding", "zstd").send()), "200 plain");
    assert_eq!(told(&client.get("/hello.txt").header("accept-encoding", "br").send()), "200 0123456789");
}

/// One that waits for somebody who writes would hold its thread.
#[cfg(unix)]
#[test]
fn what_is_no_file_is_not_served() {
    let folder = folder();
    let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("socket")).unwrap();
    made_fifo(folder.path());
    let [client, _] = clients(&Directory::new(folder.path()).unwrap());
    for path in ["/socket", "/fifo"] {
        assert_eq!(client.get(path).send().status(), 404, "{path}");
    }
}

#[test]
fn a_root_that_is_none_is_said_to_be() {
    let folder = folder();
    let missing = Directory::new(folder.path().join("none")).unwrap_err();
    assert!(missing.to_string().contains("none"), "{missing}");
    assert!(Directory::new(folder.path().join("hello.txt")).is_err());
}

#[test]
fn one_file_by_its_path() {
    let folder = folder();
    let (there, missing) = (folder.path().join("hello.txt"), folder.path().join("none"));
    let client = Client::new(move |request: Request, environ: Environ| {
        let path = if request.uri().path() == "/there" { there.clone() } else { missing.clone() };
        async move { send(path, &request, &environ).await }
    });
    let answer = client.get("/there").header("range", "bytes=-1").send();
    assert_eq!((told(&answer).as_str(), answer.header("content-type")), ("206 9", Some("text/plain; charset=utf-8")));
    let missing = client.get("/missing").send();
    assert_eq!(missing.status(), 404);
    assert!(!missing.text().contains("none"), "the path is nobody's business: {}", missing.text());
    assert_eq!(client.post("/there", "").send().status(), 405);
}
