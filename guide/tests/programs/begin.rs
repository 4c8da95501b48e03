//! `first.md`, `blocking-or-async.md`, `axum.md`.

use adapter_web::testing::Client;

use crate::{each, get};

mod hello {
    include!(concat!(env!("OUT_DIR"), "/hello.rs"));

    #[test]
    fn it_says_which_server_answers() {
        let names = std::cell::RefCell::new(Vec::new());
        super::each(hello, |url| names.borrow_mut().push(super::get(url)));
        let servers = adapter_web::registry::servers().into_iter().map(|server| server.info().name);
        let expected: Vec<_> = servers.map(|name| format!("Hello, World! This is {name}.\n")).collect();
        assert!(!expected.is_empty());
        assert_eq!(names.into_inner(), expected);
    }
}

mod counter {
    include!(concat!(env!("OUT_DIR"), "/counter.rs"));

    #[test]
    fn it_counts() {
        let client = super::Client::new(Counter::default());
        assert_eq!(client.get("/").send().text(), "You are visitor 1.\n");
        assert_eq!(client.get("/").send().text(), "You are visitor 2.\n");
        assert_eq!(client.get("/about").send().header("content-type"), Some("text/plain; charset=utf-8"));
        assert_eq!(client.post("/", "").send().status(), 405);
        assert_eq!(client.get("/tea").send().status(), 404);
        let head = client.head("/about").send();
        assert_eq!((head.status().as_u16(), head.text().as_str()), (200, ""));
    }
}

mod greeter {
    include!(concat!(env!("OUT_DIR"), "/greeter.rs"));

    #[test]
    fn it_greets_whom_it_is_told() {
        assert_eq!(super::Client::new(greeter("Ann")).get("/").send().text(), "Hello, Ann!\n");
    }

    #[test]
    fn its_flags_are_beside_the_servers() {
        let cli = <Cli as clap::Parser>::try_parse_from(["app", "--whom", "Ann", "--server", "smol"]).unwrap();
        assert_eq!((cli.whom.as_str(), cli.serving.server.as_str()), ("Ann", "smol"));
    }
}

mod blocking {
    include!(concat!(env!("OUT_DIR"), "/blocking.rs"));

    #[test]
    fn it_reads_a_file() {
        let answer = super::Client::new(blocking(load)).get("/").send();
        assert_eq!(answer.status(), if cfg!(target_os = "linux") { 200 } else { 500 });
    }
}

mod waiting {
    include!(concat!(env!("OUT_DIR"), "/waiting.rs"));

    #[test]
    fn it_waits_a_second_and_computes() {
        let client = super::Client::with_paused_time(late);
        let began = client.now();
        assert_eq!(client.get("/").send().text(), "500000500000\n");
        assert_eq!(client.now() - began, Duration::from_secs(1));
    }
}

mod both {
    include!(concat!(env!("OUT_DIR"), "/both.rs"));

    #[test]
    fn one_part_blocks() {
        let client = super::Client::new(site());
        assert_eq!(client.get("/").send().text(), "see /report\n");
        assert_eq!(client.get("/report").send().text(), "all is well\n");
    }
}

mod router {
    include!(concat!(env!("OUT_DIR"), "/router.rs"));

    #[test]
    fn an_axum_router_is_an_application() {
        super::each(router(), |url| {
            let answer = super::get(&format!("{url}/hello/Ann?times=2"));
            assert_eq!(answer, r#"{"hello":"AnnAnn","from":"127.0.0.1"}"#);
        });
        let mut socket = super::Client::new(router()).get("/echo").websocket().unwrap();
        socket.send("tea").unwrap();
        assert_eq!(socket.recv().unwrap().unwrap().as_text(), Some("tea"));
    }
}

mod extension {
    include!(concat!(env!("OUT_DIR"), "/extension.rs"));

    #[test]
    fn axum_finds_the_environ() {
        assert_eq!(super::Client::new(router()).get("/").send().text(), "served by testing\n");
    }
}

mod with_tokio {
    include!(concat!(env!("OUT_DIR"), "/with_tokio.rs"));

    #[test]
    fn tokio_is_there_on_every_server() {
        super::each(adapter_web::tokio::application(late), |url| assert_eq!(super::get(url), "late\n"));
    }
}
