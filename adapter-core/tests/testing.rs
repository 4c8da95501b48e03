//! What the in-process client adds for the tests of applications. Feature `testing`.

#![cfg(feature = "testing")]
#![allow(clippy::unwrap_used, reason = "tests")]

use adapter_core::testing::Client;
use adapter_core::{Body, Environ, Error, Request, Response};

fn redirect(status: u16, location: &str) -> Result<Response, Error> {
    Ok(Response::builder().status(status).header("location", location).body(Body::empty())?)
}

/// A shop with a login, and ways to get lost.
async fn shop(mut request: Request, _environ: Environ) -> Result<Response, Error> {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    match (method.as_str(), &*path) {
        ("POST", "/login") => {
            let name = request.body_mut().text(100).await?;
            let mut response = redirect(303, "home")?;
            response.headers_mut().insert("set-cookie", format!("{name}; Path=/").parse()?);
            Ok(response)
        }
        (_, "/logout") => {
            let mut response = redirect(302, "http://testing/home")?;
            response.headers_mut().insert("set-cookie", "name=; Path=/; Max-Age=0".parse()?);
            Ok(response)
        }
        (_, "/moved") => redirect(308, "/echo?moved"),
        (_, "/loop") => redirect(307, "/loop"),
        (_, "/away") => redirect(302, "https://elsewhere.example/"),
        _ => {
            let body = request.body_mut().text(100).await?;
            let cookie = request.headers().get("cookie").map_or("", |cookie| cookie.to_str().unwrap_or("?"));
            let kind = request.headers().get("content-type").is_some();
            Ok(Response::new(Body::from(format!("{method} {} [{cookie}] {kind} {body}", request.uri()))))
        }
    }
}

#[test]
fn a_login_is_followed_and_remembered() {
    let client = Client::new(shop).keep_cookies();
    let answer = client.post("/login", "").form([("name", "Ann")]).follow_redirects(5).send();
    assert_eq!(answer.text(), "GET /home [name=Ann] false ");
    assert_eq!(client.clone().get("/").send().text(), "GET / [name=Ann] false ");
    assert_eq!(client.get("/").header("cookie", "own=1").send().text(), "GET / [own=1] false ");
    client.set_cookie("more", "2");
    assert_eq!(client.get("/").open().finish().text(), "GET / [name=Ann; more=2] false ");
    let mut left = client.get("/logout").open();
    assert_eq!(left.status(), 302);
    assert_eq!(client.cookie("name"), None, "also by an open answer");
    assert_eq!(client.cookie("more").as_deref(), Some("2"));
}

#[test]
fn redirects_keep_what_they_must_and_come_to_an_end() {
    let client = Client::new(shop);
    let moved = client.put("/moved", "").json(&7).follow_redirects(1).send();
    assert_eq!(moved.text(), "PUT /echo?moved [] true 7");
    assert_eq!(client.get("/moved").send().status(), 308, "only where it is asked for");
    assert_eq!(client.get("/loop").follow_redirects(100).send().status(), 307);
    assert_eq!(client.get("/away").follow_redirects(100).send().status(), 302);
    let (upload, body) = adapter_core::testing::upload();
    upload.finish();
    assert_eq!(client.put("/moved", body).follow_redirects(9).send().status(), 308, "its body has gone");
}

#[test]
fn methods_have_names() {
    let client = Client::new(shop);
    assert_eq!(client.patch("/", "x").send().text(), "PATCH / [] false x");
    assert_eq!(client.delete("/").send().text(), "DELETE / [] false ");
    assert_eq!(client.options("/").send().text(), "OPTIONS / [] false ");
}
