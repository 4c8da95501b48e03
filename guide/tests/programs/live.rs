//! `streams.md`, `long-polling.md`, `websockets.md`.

use adapter_web::testing::Client;

mod news {
    include!(concat!(env!("OUT_DIR"), "/news.rs"));

    #[test]
    fn what_is_said_is_heard_by_all() {
        let news = News::default();
        let client = super::Client::new(news.clone());
        let mut listeners = [client.get("/events").open(), client.get("/events").open()];
        for listener in &mut listeners {
            assert_eq!(listener.headers()["content-type"], "text/event-stream");
        }
        assert_eq!(client.post("/say", "tea\nis ready").send().text(), "said\n");
        for listener in &mut listeners {
            assert_eq!(listener.chunk().unwrap().unwrap(), "data: tea\ndata: is ready\n\n");
        }
        let [first, mut second] = listeners;
        first.disconnect();
        while news.listeners.lock().unwrap().len() > 1 {
            std::thread::yield_now(); // the test runner's own limit ends it
        }
        client.trigger().trigger(); // the server wants to stop
        assert!(second.chunk().is_none());
        client.shutdown().unwrap();
    }

    #[test]
    fn silence_is_broken_every_quarter_of_a_minute() {
        let client = super::Client::with_paused_time(News::default());
        let mut listener = client.get("/events").open();
        let began = client.now();
        assert_eq!(listener.chunk().unwrap().unwrap(), ": still here\n\n");
        assert_eq!(client.now() - began, Duration::from_secs(15));
    }
}

mod primer {
    include!(concat!(env!("OUT_DIR"), "/primer.rs"));

    #[test]
    fn the_pieces_come_at_0_3_and_8_seconds() {
        for path in ["/stream", "/channel"] {
            let client = super::Client::with_paused_time(primer());
            let began = client.now();
            let mut answer = client.get(path).open();
            for (after, part) in [(0, "START\n"), (3, "MIDDLE\n"), (8, "END\n")] {
                assert_eq!(answer.chunk().unwrap().unwrap(), part, "{path}");
                assert_eq!(client.now() - began, Duration::from_secs(after), "{path}");
            }
            assert!(answer.chunk().is_none());
        }
    }

    #[test]
    fn the_iterator_begins_at_once() {
        // It sleeps on its thread, in real time, so no more is waited for.
        let mut answer = super::Client::new(primer()).get("/iterate").open();
        assert_eq!(answer.chunk().unwrap().unwrap(), "START\n");
    }
}

mod poll {
    include!(concat!(env!("OUT_DIR"), "/poll.rs"));

    #[test]
    fn a_poll_waits_for_news() {
        let client = super::Client::with_paused_time(Room::default());
        let began = client.now();
        assert_eq!(client.get("/poll?0").send().text(), "");
        assert_eq!(client.now() - began, PATIENCE);
        let waiting = client.get("/poll?0").open();
        client.post("/say", "tea").send();
        client.post("/say", "more").send();
        assert!(waiting.finish().text().starts_with("tea\n"));
        assert_eq!(client.get("/poll?1").send().text(), "more\n");
        assert_eq!(client.get("/poll?x").send().status(), 400);
        assert_eq!(client.now() - began, PATIENCE);
    }
}

mod echo {
    include!(concat!(env!("OUT_DIR"), "/echo.rs"));

    #[test]
    fn it_sends_back_what_comes() {
        let client = super::Client::new(echo);
        let mut socket = client.get("/").websocket().unwrap();
        socket.send("tea").unwrap();
        assert_eq!(socket.recv().unwrap().unwrap().as_text(), Some("tea"));
        assert_eq!(client.get("/").send().status(), 400);
    }
}

mod chat {
    include!(concat!(env!("OUT_DIR"), "/chat.rs"));

    #[test]
    fn everybody_hears_what_anybody_says() {
        let room = Room::default();
        let client = super::Client::new(room.clone());
        let mut first = client.get("/ws").websocket().unwrap();
        let mut second = client.get("/ws").header("origin", "http://testing").websocket().unwrap();
        while room.members.lock().unwrap().len() < 2 {
            std::thread::yield_now(); // a handler begins when its handshake is out
        }
        first.send("tea").unwrap();
        for socket in [&mut first, &mut second] {
            assert_eq!(socket.recv().unwrap().unwrap().as_text(), Some("tea"));
        }
        second.close(1000, "").unwrap();
        while room.members.lock().unwrap().len() > 1 {
            std::thread::yield_now();
        }
        let denied = client.get("/ws").header("origin", "https://elsewhere.example").websocket();
        assert_eq!(denied.err().unwrap().status(), 403);
        assert!(client.get("/").send().text().contains("new WebSocket"));
    }
}

mod blocking_echo {
    include!(concat!(env!("OUT_DIR"), "/blocking_echo.rs"));

    #[test]
    fn it_answers() {
        let mut socket = super::Client::new(blocking(echo)).get("/").websocket().unwrap();
        socket.send("tea").unwrap();
        assert_eq!(socket.recv().unwrap().unwrap().as_text(), Some("Your message was: tea"));
    }
}
