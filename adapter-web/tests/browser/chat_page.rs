//! The chat's page in two windows: one talks through a WebSocket, the other through long-polling.

use std::sync::Arc;

use adapter_web::http::StatusCode;
use adapter_web::{Application, Environ, Error, Request, Server};
use serde_json::json;

use crate::chat::Chat;
use crate::log::Memory;
use crate::webdriver::{ENTER, Session};

/// Names, and what was said.
const SAID: &str = "all('#messages li:not(#empty)').map(item =>
    [item.firstChild.textContent.split(' · ')[0], item.lastChild.textContent, item.className])";

pub(crate) fn case(server: &'static dyn Server, browser: &mut Session, tls: bool) {
    let (handle, addr, origin) = crate::serve(server, Chat::new(Memory::default()), 0, tls);
    let url = |query: &str| format!("{origin}/?{query}");
    browser.resize(1100, 800);
    browser.open(&url("room=tea&name=Anna"));
    browser.wait("text('#state') === 'in tea as Anna'");
    assert_eq!(browser.wait("lines('#messages li')"), json!(["Nothing has been said here yet."]));
    let anna = browser.window();

    let bert = browser.new_window();
    browser.resize(420, 800);
    browser.open(&url("room=tea&name=Bert&via=poll"));
    browser.wait("text('#state') === 'in tea as Bert, long-polling'");
    browser.wait("text('#online') === 'AnnaBert (you)' && text('#count') === '2 online'");

    // both ways, with Enter and with the button
    browser.switch_to(&anna);
    browser.wait("text('#online') === 'Anna (you)Bert'");
    browser.type_into("#text", &format!("Is anybody there?{ENTER}"));
    browser.switch_to(&bert);
    let first = json!([["Anna", "Is anybody there?", ""]]);
    assert_eq!(browser.wait(&format!("({SAID}).length && {SAID}")), first);
    browser.type_into("#text", "I am: <b>Bert</b> & Söhne 🙂");
    browser.click("#say button");
    browser.switch_to(&anna);
    let both = json!([["Anna", "Is anybody there?", "own"], ["Bert", "I am: <b>Bert</b> & Söhne 🙂", ""]]);
    assert_eq!(browser.wait(&format!("({SAID}).length === 2 && {SAID}")), both);
    browser.screenshot("anna");

    // history after a reload
    browser.reload();
    assert_eq!(browser.wait(&format!("({SAID}).length === 2 && {SAID}")), both);

    // another room, by keyboard
    browser.clear("#room");
    browser.type_into("#room", &format!("coffee{ENTER}"));
    browser.wait("text('#state') === 'in coffee as Anna'");
    assert_eq!(browser.wait("lines('#messages li')"), json!(["Nothing has been said here yet."]));
    browser.open(&url("room=no+room&name=Anna"));
    browser.wait("text('#problem') === 'a room is 1 to 32 letters, digits, - and _'");
    browser.screenshot("problem");
    browser.open(&url("room=tea&name=Anna"));
    browser.wait(&format!("({SAID}).length === 2"));

    // the server goes away: what can't be sent stays
    handle.stop().unwrap();
    browser.wait("text('#state') !== 'in tea as Anna'");
    browser.type_into("#text", &format!("Still there?{ENTER}"));
    browser.wait("text('#problem') === 'Not connected: this was not sent.'");
    assert_eq!(browser.wait("document.getElementById('text').value"), json!("Still there?"));
    browser.color_scheme("dark");
    browser.screenshot("alone-dark");

    // and comes back, without its memory: both windows find it by themselves
    let (handle, ..) = crate::serve(server, Chat::new(Memory::default()), addr.port(), tls);
    browser.wait("text('#state') === 'in tea as Anna'");
    browser.switch_to(&bert);
    browser.wait("text('#state') === 'in tea as Bert, long-polling'");
    browser.switch_to(&anna);
    browser.type_into("#text", ENTER);
    let again = json!(["Anna", "Still there?", ""]);
    browser.switch_to(&bert);
    assert_eq!(browser.wait(&format!("({SAID}).length === 3 && ({SAID})[2]")), again);
    browser.screenshot("bert");
    handle.stop().unwrap();
    without_websockets(server, browser, tls);
}

/// Something between the page and the server lets no WebSocket through.
fn without_websockets(server: &'static dyn Server, browser: &mut Session, tls: bool) {
    let chat = Arc::new(Chat::new(Memory::default()));
    let application = move |request: Request, environ: Environ| {
        let chat = chat.clone();
        async move {
            match request.uri().path() {
                "/ws" => Err(Error::new("no WebSockets").with_status(StatusCode::BAD_GATEWAY)),
                _ => chat.call(request, environ).await,
            }
        }
    };
    let (handle, _, origin) = crate::serve(server, application, 0, tls);
    browser.open(&format!("{origin}/?room=tea&name=Eva"));
    browser.wait("text('#state') === 'in tea as Eva, long-polling'");
    browser.type_into("#text", &format!("By poll{ENTER}"));
    assert_eq!(browser.wait(&format!("({SAID}).length && {SAID}")), json!([["Eva", "By poll", "own"]]));
    handle.stop().unwrap();
}
