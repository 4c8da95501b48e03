//! The guestbook, by a client of HTTP/1.1, on every server.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use adapter_web::ServerConfig;

use crate::support::{each, each_with, field, read};

#[test]
fn who_signs_is_sent_back_to_the_page_and_stands_there() {
    each(|client| {
        assert!(!client.get("/").1.contains("<article>"));
        let signed = client.sign("/sign", "Ada", "50% off & <b>more</b>, Grüße\nhere");
        assert_eq!((signed.status().as_u16(), &*field(&signed, "location")), (303, "/"));
        let (status, page) = client.get("/");
        assert_eq!(status, 200);
        assert!(page.contains("<h2>Ada</h2>") && page.contains("50% off &#38; &#60;b&#62;more"), "{page}");
        assert!(page.contains("Grüße\nhere"), "{page}");
        client.sign("/sign", "Bob", "later");
        let page = client.get("/").1;
        assert!(page.find("Bob").unwrap() < page.find("Ada").unwrap(), "the newest first");
    });
}

#[test]
fn the_name_is_remembered() {
    each(|client| {
        let signed = client.sign("/sign", "J\u{fc}rgen; \"x\"", "hi");
        let cookie = field(&signed, "set-cookie");
        let cookie = cookie.split(';').next().unwrap();
        let page = client.agent.get(&client.root).header("cookie", format!("a=b; {cookie}")).call().unwrap();
        assert!(read(page).1.contains("value=\"J\u{fc}rgen; &#34;x&#34;\""));
    });
}

#[test]
fn what_is_no_entry_is_refused() {
    each(|client| {
        let refused = |name: &str, text: &str| {
            let (status, page) = read(client.sign("/sign", name, text));
            assert!(page.contains("role=\"alert\""), "{page}");
            status
        };
        assert_eq!([refused("", "x"), refused("x", "  "), refused(&"x".repeat(51), "x")], [422; 3]);
        // What was written is not lost.
        assert!(read(client.sign("/sign", "", "a long <story>")).1.contains("a long &#60;story&#62;</textarea>"));
        let form = "application/x-www-form-urlencoded";
        assert_eq!(read(client.post("/sign", form, "no form")).0, 422);
        assert_eq!(read(client.post("/sign", "application/json", "{}")).0, 415);
        assert_eq!(read(client.post("/sign", form, &"x".repeat(16 * 1024 + 1))).0, 413);
        assert_eq!([client.get("/sign").0, client.get("/nothing").0], [405, 404]);
        let allowed = |path: &str| {
            let refused = client.agent.delete(format!("{}{path}", client.root)).call().unwrap();
            (refused.status().as_u16(), field(&refused, "allow"))
        };
        assert_eq!(allowed("/"), (405, "GET, HEAD".into()));
        assert_eq!(allowed("/sign"), (405, "POST".into()));
        assert!(!client.get("/").1.contains("<article>"));
    });
}

#[test]
fn many_sign_at_once() {
    each(|client| {
        std::thread::scope(|scope| {
            for n in 0..16 {
                scope.spawn(move || {
                    for m in 0..3 {
                        let signed = client.sign("/sign", &format!("{n}"), &format!("{m}"));
                        assert_eq!(signed.status(), 303);
                        assert_eq!(client.get("/").0, 200);
                    }
                });
            }
        });
        assert_eq!(client.get("/").1.matches("<article>").count(), 48);
    });
}

#[test]
fn below_a_prefix() {
    let mut config = ServerConfig::default();
    config.mount_prefix = "/book".into();
    each_with(config, |client| {
        assert!(client.get("/book/").1.contains("action=\"/book/sign\""));
        assert_eq!(field(&client.sign("/book/sign", "Ada", "hi"), "location"), "/book/");
        assert_eq!(client.get("/book").0, 200);
    });
}

#[test]
fn head_is_the_page_without_it() {
    each(|client| {
        let head = client.agent.head(&client.root).call().unwrap();
        let length: usize = field(&head, "content-length").parse().unwrap();
        assert_eq!((read(head), length), ((200, String::new()), client.get("/").1.len()));
    });
}
