//! The page in headless Chromium, in two windows: the process is stopped and started again, and nobody touches the page.
//!
//! Where there is no browser, the case is ignored and says so. Screenshots are kept in `browser/` of the target directory.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../support/mod.rs"]
mod support;
#[path = "../../../../adapter-web/tests/browser/webdriver.rs"]
#[allow(dead_code, reason = "other pages need more of it")]
mod webdriver;

use std::process::ExitCode;
use std::sync::Arc;

use adapter_web::registry;
use libtest_mimic::{Arguments, Trial};
use redis_chat::application;
use redis_chat::store::Memory;
use serde_json::json;

use crate::support::serve_at;
use crate::webdriver::{Driver, ENTER, Session};

/// What was said, by whom, and what is not accepted yet.
const SAID: &str = "all('#messages li').map(item =>
    [item.firstChild.textContent.split(' · ')[0], item.lastChild.textContent, item.className])";

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    // Nothing is started only to be listed.
    let driver = if arguments.list { Err(String::new()) } else { Driver::start() };
    if let Err(reason) = &driver
        && !arguments.list
    {
        eprintln!("page: ignored, {reason}");
    }
    let name = "the_page_comes_back_by_itself";
    let trial = match driver {
        Ok(driver) => Trial::test(name, move || {
            comes_back(&mut driver.session("redis-chat"));
            Ok(())
        }),
        Err(reason) => Trial::test(name, || Ok(())).with_kind(reason).with_ignored_flag(!arguments.list),
    };
    libtest_mimic::run(&arguments, vec![trial]).exit_code()
}

fn comes_back(browser: &mut Session) {
    // What a process leaves for the next one, as Redis does.
    let store = Arc::new(Memory::default());
    let start = |server: &str, port: u16| {
        let store = store.clone();
        serve_at(registry::server(server).unwrap(), application(move || Ok(store.clone())), port)
    };
    let (handle, addr) = start("threadpool", 0);
    let url = |name: &str| format!("http://{addr}/?name={name}");
    browser.resize(700, 600);
    browser.open(&url("Anna"));
    browser.wait("text('#state') === 'here as Anna'");
    let anna = browser.window();
    browser.new_window();
    browser.open(&url("Bert"));
    browser.wait("text('#state') === 'here as Bert'");
    browser.type_into("#text", &format!("Is <b>anybody</b> there? 🙂{ENTER}"));
    let mut said = vec![json!(["Bert", "Is <b>anybody</b> there? 🙂", ""])];
    assert_eq!(browser.wait(&format!("({SAID}).length && text('.unsaid') === '' && {SAID}")), json!(said));

    // What is said while the process is away stays, and says so.
    handle.stop().unwrap();
    browser.wait("text('#state') !== 'here as Bert'");
    browser.type_into("#text", &format!("First{ENTER}Second{ENTER}"));
    let unsaid = [json!(["sending", "First", "unsaid"]), json!(["sending", "Second", "unsaid"])];
    let shown = browser.wait(&format!("({SAID}).length === 3 && {SAID}"));
    assert_eq!(shown, json!([&said[..], &unsaid[..]].concat()));
    browser.screenshot("away");

    // Another server takes its place: both windows find it, and all is said once and in order.
    let (handle, _) = start("smol", addr.port());
    said.extend([json!(["Bert", "First", ""]), json!(["Bert", "Second", ""])]);
    let all = format!("({SAID}).length === 3 && text('.unsaid') === '' && {SAID}");
    assert_eq!(browser.wait(&all), json!(said));
    assert_eq!(browser.wait("text('#state')"), json!("here as Bert"));
    browser.screenshot("back");
    browser.switch_to(&anna);
    assert_eq!(browser.wait(&all), json!(said));
    handle.stop().unwrap();
}
