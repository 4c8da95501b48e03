//! `choosing.md`, `tls.md`, `watching.md`, `moving.md`, `writing-a-server.md`.

use adapter_web::testing::Client;

mod requires {
    include!(concat!(env!("OUT_DIR"), "/requires.rs"));

    #[cfg(target_os = "linux")] // which threadpool is for
    #[test]
    fn a_server_without_http2_is_refused() {
        let launcher = |server: &str| {
            let cli = <Cli as clap::Parser>::try_parse_from(["app", "--server", server]).unwrap();
            Launcher::new(&cli.serving).unwrap().require("http2").map(|_| ()).map_err(|exit| exit.status())
        };
        assert_eq!(launcher("threadpool"), Err(2));
        assert_eq!(launcher("smol"), Ok(()));
    }
}

mod redirect {
    include!(concat!(env!("OUT_DIR"), "/redirect.rs"));

    #[test]
    fn who_comes_in_plain_is_sent_on() {
        let mut config = adapter_web::ServerConfig::default();
        config.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
        let client = super::Client::new(Secure(hello)).configured(config);
        for (host, name) in [("example.org:80", "example.org"), ("[::1]", "[::1]"), ("[::1]:80", "[::1]"), ("a:", "a")]
        {
            let plain = client.get("/a?b").without_host().header("host", host).send();
            let place = format!("https://{name}/a?b");
            assert_eq!((plain.status().as_u16(), plain.header("location")), (308, Some(place.as_str())), "{host}");
        }
        let forwarded = client.get("/").header("x-forwarded-for", "192.0.2.1").header("x-forwarded-proto", "https");
        let secure = forwarded.send();
        assert_eq!(secure.text(), "Hello, securely.\n");
        assert_eq!(secure.header("strict-transport-security"), Some("max-age=31536000"));
    }
}

mod logged {
    include!(concat!(env!("OUT_DIR"), "/logged.rs"));

    #[test]
    fn it_finds_its_id() {
        let answer = super::Client::new(logged).get("/").header("x-request-id", "7").send();
        assert_eq!(answer.text(), "your request is 7\n");
    }
}

mod from_rouille {
    include!(concat!(env!("OUT_DIR"), "/from_rouille.rs"));

    #[test]
    fn it_shouts() {
        let client = super::Client::new(blocking(site));
        assert_eq!(client.get("/").send().text(), "Hello, World!\n");
        assert_eq!(client.post("/shout", "tea").send().text(), "TEA");
        assert_eq!(client.get("/shout").send().status(), 404);
    }
}

/// The server that a page writes; what the suite says of it is `conformance-tests/tests/minimal_server.rs`.
#[cfg(unix)]
mod my_server {
    include!(concat!(env!("OUT_DIR"), "/my_server.rs"));

    use adapter_web::{DynApplication, Server as _, ServerConfig};

    #[test]
    fn it_serves() {
        let config = ServerConfig::default().bind("127.0.0.1:0".parse().unwrap());
        let handle = server::MinimalServer.start(DynApplication::new(hello), config).unwrap();
        assert_eq!(crate::get(&format!("http://{}", handle.local_addrs()[0])), "Hello! This is minimal.\n");
        handle.stop().unwrap();
    }
}
