//! `files::Directory` on every server, over sockets: what is said of a file, and its octets.

#![cfg(feature = "files")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod wire;

use std::fs;
use std::time::{Duration, SystemTime};

use adapter_web::files::Directory;

use crate::wire::{Client, start};

const LONG: usize = 3 * 1024 * 1024 + 17;

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let long: Vec<u8> = (0..LONG).map(|n| (n % 251) as u8).collect();
    fs::write(folder.path().join("long.bin"), long).unwrap();
    fs::write(folder.path().join("short.txt"), "0123456789").unwrap();
    for name in ["long.bin", "short.txt"] {
        let file = fs::File::options().append(true).open(folder.path().join(name)).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)).unwrap();
    }
    folder
}

/// The head of an answer, and the body that its Content-Length announces.
fn ask(client: &mut Client, method: &str, path: &str, fields: &str) -> (String, Vec<u8>) {
    client.send(format!("{method} {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n").as_bytes());
    let head = client.head().to_ascii_lowercase();
    let length = field(&head, "content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let has_body = method != "HEAD" && !head.starts_with("http/1.1 304");
    let body = if has_body { client.exact(length).unwrap() } else { Vec::new() };
    (head, body)
}

fn field<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

fn status(head: &str) -> &str {
    head.split(' ').nth(1).unwrap_or_default()
}

/// All on one connection: each answer is framed so that the next one is where it should be.
#[test]
fn a_folder_is_served_alike_by_all() {
    let folder = folder();
    for server in adapter_web::servers() {
        let name = server.info().name.clone();
        let site = Directory::new(folder.path()).unwrap();
        let running = start(server, site, wire::config());
        let mut client = Client::connect(running.addr);

        let (head, body) = ask(&mut client, "GET", "/short.txt", "");
        assert_eq!((status(&head), body.as_slice()), ("200", b"0123456789".as_slice()), "{name}");
        let etag = field(&head, "etag").unwrap().to_owned();
        assert_eq!(field(&head, "last-modified"), Some("tue, 14 nov 2023 22:13:20 gmt"), "{name}");

        let (head, _) = ask(&mut client, "GET", "/short.txt", &format!("If-None-Match: {etag}\r\n"));
        assert_eq!((status(&head), field(&head, "etag")), ("304", Some(etag.as_str())), "{name}");

        let (head, _) = ask(&mut client, "HEAD", "/long.bin", "");
        assert_eq!((status(&head), field(&head, "content-length")), ("200", Some(LONG.to_string().as_str())), "{name}");

        let (head, body) = ask(&mut client, "GET", "/long.bin", "");
        assert_eq!((status(&head), body.len()), ("200", LONG), "{name}");
        assert!(body.iter().enumerate().all(|(n, octet)| *octet == (n % 251) as u8), "{name}");

        let (head, body) = ask(&mut client, "GET", "/long.bin", "Range: bytes=1000000-2000000\r\n");
        assert_eq!((status(&head), body.len()), ("206", 1_000_001), "{name}");
        assert_eq!(body.first().copied(), Some((1_000_000 % 251) as u8), "{name}");

        let (head, body) = ask(&mut client, "GET", "/long.bin", "Range: bytes=0-9,2000000-2000009,-10\r\n");
        assert_eq!(status(&head), "206", "{name}");
        let boundary = field(&head, "content-type").unwrap().strip_prefix("multipart/byteranges; boundary=").unwrap();
        assert!(body.ends_with(format!("\r\n--{boundary}--\r\n").as_bytes()), "{name}");

        let (head, _) = ask(&mut client, "GET", "/../long.bin", "");
        assert_eq!(status(&head), "404", "{name}");
        running.stop();
    }
}

/// A file that becomes shorter while it is sent: the client can tell. \[FIL-02\]
#[test]
fn a_file_that_shrinks_is_not_taken_for_whole() {
    for server in adapter_web::servers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shrinks.bin");
        // More than any buffers on the way hold.
        fs::File::create(&path).unwrap().set_len(64 * 1024 * 1024).unwrap();
        let running = start(server, Directory::new(folder.path()).unwrap(), wire::config());
        let mut client = Client::connect(running.addr);
        client.send(b"GET /shrinks.bin HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(client.head().contains("67108864"));
        assert!(client.exact(100_000).is_some());
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(200_000).unwrap();
        assert_eq!(client.exact(64 * 1024 * 1024 - 100_000), None, "{}", server.info().name);
        running.stop();
    }
}
