//! `login.md`, `databases.md`.

use adapter_web::testing::Client;

use crate::each;

mod login {
    include!(concat!(env!("OUT_DIR"), "/login.rs"));

    fn client() -> super::Client {
        super::Client::new(Site { key: Key::generate(), password: "tea".into() }).keep_cookies()
    }

    #[test]
    fn who_knows_the_password_is_known() {
        let client = client();
        assert_eq!(client.get("/").send().status(), 401);
        let wrong = client.post("/login", "").form([("name", "Ann"), ("password", "coffee")]).send();
        assert_eq!((wrong.status().as_u16(), client.cookie(NAME)), (401, None));
        let right = client.post("/login", "").form([("name", "Ann Bó"), ("password", "tea")]).send();
        assert_eq!((right.status().as_u16(), right.header("location")), (303, Some("/")));
        let cookie = right.header("set-cookie").unwrap();
        assert!(
            cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax") && !cookie.contains("Secure"),
            "{cookie}"
        );
        assert_eq!(client.get("/").send().text(), "Hello, Ann Bó.\n");
        client.post("/logout", "").send();
        assert_eq!(client.get("/").send().status(), 401);
    }

    #[test]
    fn a_cookie_of_ones_own_is_none() {
        let client = client();
        client.post("/login", "").form([("name", "Ann"), ("password", "tea")]).send();
        let ours = client.cookie(NAME).unwrap();
        for forged in
            [ours.replace("Ann", "Bob"), "99999999999.Bob".into(), String::new(), ours.replacen(|_| true, "x", 1)]
        {
            client.set_cookie(NAME, &forged);
            assert_eq!(client.get("/").send().status(), 401, "{forged}");
        }
        client.set_cookie(NAME, &ours);
        assert_eq!(client.get("/").send().status(), 200);
    }

    #[test]
    fn an_old_cookie_is_none() {
        let key = Key::generate();
        let mut jar = CookieJar::new();
        jar.signed_mut(&key).add(Cookie::new(NAME, format!("{}.Ann", seconds(SystemTime::now()) - 1)));
        let client = super::Client::new(Site { key, password: "tea".into() }).keep_cookies();
        client.set_cookie(NAME, jar.get(NAME).unwrap().encoded().to_string().split_once('=').unwrap().1);
        assert_eq!(client.get("/").send().status(), 401);
    }

    #[test]
    fn over_https_the_cookie_is_secure() {
        let mut config = adapter_web::ServerConfig::default();
        config.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
        let client = client().configured(config);
        let login = client.post("/login", "").form([("name", "Ann"), ("password", "tea")]);
        let answer = login.header("x-forwarded-for", "192.0.2.1").header("x-forwarded-proto", "https").send();
        assert!(answer.header("set-cookie").unwrap().contains("Secure"));
    }
}

mod notes {
    include!(concat!(env!("OUT_DIR"), "/notes.rs"));

    #[test]
    fn the_api_is_the_same_on_every_server() {
        super::each_with_file(|file| api(Notes::open(Path::new(file)).unwrap()));
    }
}

mod sqlx_notes {
    include!(concat!(env!("OUT_DIR"), "/sqlx_notes.rs"));

    #[test]
    fn the_api_is_the_same_on_every_server() {
        super::each_with_file(|file| {
            let file: &'static str = file.to_owned().leak();
            axum_at_startup(move || app(file))
        });
    }
}

mod native_sqlx {
    include!(concat!(env!("OUT_DIR"), "/native_sqlx.rs"));

    #[test]
    fn a_pool_is_opened_at_the_start() {
        super::each(tokio::application(at_startup(application)), |url| assert_eq!(crate::get(url), "42\n"));
    }
}

/// Both programs are one API.
fn each_with_file<A: adapter_web::Application>(application: impl Fn(&str) -> A) {
    let folder = tempfile::tempdir().unwrap();
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let text = |mut answer: ureq::http::Response<ureq::Body>| {
        (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
    };
    each(application(folder.path().join("notes.db").to_str().unwrap()), |url| {
        let notes = format!("{url}/notes");
        let post = |body: &str| agent.post(&notes).content_type("application/json").send(body).unwrap();
        let (status, note) = text(post(r#"{"text": "buy tea"}"#));
        assert_eq!((status, note.ends_with(r#","text":"buy tea"}"#)), (201, true), "{note}");
        let id = note.split([':', ',']).nth(1).unwrap();
        assert_eq!(text(agent.get(&notes).call().unwrap()), (200, format!("[{note}]")));
        assert_eq!(text(agent.get(format!("{notes}/{id}")).call().unwrap()), (200, note.clone()));
        assert_eq!(text(post("{}")).0, 422);
        assert_eq!(text(agent.delete(format!("{notes}/{id}")).call().unwrap()).0, 204);
        assert_eq!(text(agent.delete(format!("{notes}/{id}")).call().unwrap()).0, 404);
        assert_eq!(text(agent.get(format!("{notes}/{id}")).call().unwrap()).0, 404);
        assert_eq!(text(agent.get(&notes).call().unwrap()), (200, "[]".into()));
    });
}
