//! The primer's page: every card is run by its button, and shows what came and when.

use adapter_web::Server;
use serde_json::json;

use crate::primer::Primer;
use crate::webdriver::{ENTER, Session};

const CARDS: [&str; 6] = ["stream", "stream-blocking", "fetch", "gather", "ticks", "websocket"];

pub(crate) fn case(server: &'static dyn Server, browser: &mut Session, tls: bool) {
    let (handle, _, origin) = crate::serve(server, Primer::new(), 0, tls);
    browser.resize(1200, 900);
    browser.open(&format!("{origin}/"));
    browser.click("#scale option[value='0.3']");
    for card in CARDS {
        browser.click(&format!("#{card} .bar button"));
    }

    // each says the whole of it, piece by piece
    for card in ["stream", "stream-blocking"] {
        browser.wait(&format!("text('#{card} .state').startsWith('200, complete after ')"));
        assert_eq!(browser.wait(&format!("lines('#{card} li')")), json!(["START", "MIDDLE", "END"]));
        let times = browser.wait(&format!("all('#{card} li span').map(time => parseFloat(time.textContent))"));
        let times: Vec<_> = times.as_array().unwrap().iter().map(|time| time.as_f64().unwrap()).collect();
        assert!(times[0] < times[1] && times[1] < times[2], "{card} came at once: {times:?}");
    }
    browser.wait("text('#fetch .state').startsWith('200, complete after ')");
    let fetched = ["piece 1", "piece 2", "piece 3", "piece 4", "piece 5", "finished after 5 pieces"];
    assert_eq!(browser.wait("lines('#fetch li')"), json!(fetched));
    browser.wait("text('#gather .state').startsWith('200, complete after ')");
    let gathered = browser.wait("lines('#gather li')");
    assert_eq!(gathered[2], "the third job took 3 s on a blocking thread");
    assert_eq!(gathered.as_array().unwrap().len(), 4);
    browser.wait("lines('#ticks li').includes('tick 3')");
    browser.wait("lines('#websocket li').includes('Your message was: Hello')");
    browser.screenshot("wide");

    // Enter sends
    browser.type_into("#websocket input", &format!("typed{ENTER}"));
    browser.wait("lines('#websocket li').includes('Your message was: typed')");

    // the button of what runs stops it
    browser.click("#ticks .bar button");
    browser.wait("text('#ticks .state').startsWith('stopped after ')");
    browser.click("#websocket .bar button");
    browser.wait("text('#websocket .state').startsWith('closed with 1000 after ')");

    // all at once, by keyboard; the server's end reaches what would go on for ever, and the rest completes
    browser.type_into("#all", ENTER);
    browser.wait("lines('#ticks li').length && lines('#websocket li').length && lines('#stream li').length");
    handle.stop().unwrap();
    browser.wait("lines('#ticks li').at(-1) === 'the server is stopping'");
    browser.wait("text('#ticks .state').startsWith('ended after ')");
    browser.wait("text('#websocket .state').startsWith('closed with 1001 after ')");
    browser.wait("text('#stream .state').startsWith('200, complete after ')");
    assert_eq!(browser.wait("lines('#stream li')"), json!(["START", "MIDDLE", "END"]));

    // nobody is there any more
    browser.click("#stream .bar button");
    browser.wait("text('#stream .state').startsWith('broken off after ')");
    browser.color_scheme("dark");
    browser.resize(420, 900);
    browser.screenshot("narrow-dark");
}
