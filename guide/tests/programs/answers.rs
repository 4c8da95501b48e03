//! `requests.md`, `answers.md`, `uploads.md`.

use adapter_web::testing::Client;

use crate::{each, get};

mod requests {
    include!(concat!(env!("OUT_DIR"), "/requests.rs"));

    #[test]
    fn it_reads_what_clients_send() {
        let client = super::Client::new(requests);
        assert_eq!(client.get("/query?tea=green&cups=2").send().text(), "tea is green\ncups is 2\n");
        assert_eq!(client.post("/form", "").form([("tea", "black")]).send().text(), "black it is\n");
        let order = Order { tea: "green".into(), cups: 2 };
        let answer = client.post("/json", "").json(&order).send();
        assert_eq!(answer.text(), r#"{"tea":"green","cups":3}"#);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let order = Order { tea: "green".into(), cups: u32::MAX };
        assert_eq!(client.post("/json", "").json(&order).send().status(), 400);
        assert_eq!(client.head("/query?tea=green").send().status(), 200);
    }

    #[test]
    fn what_is_wrong_has_a_status() {
        let client = super::Client::new(requests);
        assert_eq!(client.post("/form", "tea=black").send().status(), 415);
        let json = |body: String| client.post("/json", body).header("content-type", "application/json").send().status();
        assert_eq!(json("{".into()), 400);
        assert_eq!(json("x".repeat(MOST + 1)), 413);
        assert_eq!(client.get("/tea").send().status(), 404);
    }

    #[test]
    fn it_reads_a_form_with_files() {
        let client = super::Client::new(requests);
        let part =
            |field: &str, content: &str| format!("--x\r\nContent-Disposition: form-data; {field}\r\n\r\n{content}\r\n");
        let form =
            [part("name=\"note\"", "hi"), part("name=\"file\"; filename=\"a.txt\"", "12345"), "--x--\r\n".into()];
        let send = |form: String| {
            client.post("/multipart", form).header("content-type", "multipart/form-data; boundary=x").send()
        };
        assert_eq!(send(form.concat()).text(), "note: 2 octets\na.txt: 5 octets\n");
        assert_eq!(send(form[..2].concat()).status(), 400); // it has no end
        assert_eq!(client.post("/multipart", "").send().status(), 400);
    }
}

mod site {
    include!(concat!(env!("OUT_DIR"), "/answers.rs"));

    fn client() -> (tempfile::TempDir, super::Client) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("static/sub")).unwrap();
        std::fs::write(folder.path().join("static/index.html"), "<h1>Hello</h1>\n").unwrap();
        std::fs::write(folder.path().join("static/sub/a b.css"), "*{}").unwrap();
        std::fs::write(folder.path().join("secret"), "no").unwrap();
        let files = Directory::new(folder.path().join("static")).unwrap();
        let client = super::Client::new(Site { files });
        (folder, client)
    }

    #[test]
    fn it_answers_in_many_ways() {
        let (_folder, client) = client();
        assert_eq!(client.get("/json").send().text(), r#"{"cups":2,"tea":"green"}"#);
        assert_eq!(client.get("/old").follow_redirects(1).send().text(), r#"{"cups":2,"tea":"green"}"#);
        let page = client.get("/static/index.html").send();
        assert_eq!(
            (page.text().as_str(), page.header("content-type")),
            ("<h1>Hello</h1>\n", Some("text/html; charset=utf-8"))
        );
        assert_eq!(client.get("/static/sub/a%20b.css").send().text(), "*{}");
        let broken = client.get("/broken").send();
        assert_eq!((broken.status().as_u16(), broken.text().starts_with("<h1>Service Unavailable</h1>")), (503, true));
        assert_eq!(client.post("/", "").send().status(), 405);
    }

    #[test]
    fn nothing_leads_out_of_the_folder() {
        let (_folder, client) = client();
        for path in ["../secret", "%2e%2e/secret", "..%2fsecret", "sub/../../secret", "none", "sub/", "index.html/x"] {
            assert_eq!(client.get(&format!("/static/{path}")).send().status(), 404, "{path}");
        }
    }
}

mod folder {
    include!(concat!(env!("OUT_DIR"), "/folder.rs"));

    #[test]
    fn a_folder_is_served_on_every_server() {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("index.html"), "<h1>Hello</h1>\n").unwrap();
        super::each(folder(place.path().to_str().unwrap()).unwrap(), |url| {
            assert_eq!(super::get(url), "<h1>Hello</h1>\n");
            let mut part = ureq::get(&format!("{url}/index.html")).header("range", "bytes=0-3").call().unwrap();
            assert_eq!((part.status().as_u16(), part.body_mut().read_to_string().unwrap().as_str()), (206, "<h1>"));
        });
    }
}

mod upload {
    include!(concat!(env!("OUT_DIR"), "/upload.rs"));

    use adapter_web::ServerConfig;
    use adapter_web::testing;

    #[test]
    fn a_file_is_kept_and_sent_by_every_server() {
        let folder = tempfile::tempdir().unwrap();
        let content = "0123456789".repeat(300_000);
        super::each(files(folder.path().into()), |url| {
            let mut answer = ureq::put(&format!("{url}/files/big")).send(&content).unwrap();
            assert_eq!(answer.status(), 201);
            assert_eq!(answer.body_mut().read_to_string().unwrap(), "3000000 octets\n");
            assert_eq!(super::get(&format!("{url}/files/big")), content);
        });
    }

    #[test]
    fn nothing_is_left_of_half_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = ServerConfig::default();
        config.limits.body_bytes = Some(1000);
        let client = super::Client::new(files(folder.path().into())).configured(config);
        let (upload, body) = testing::upload();
        let answer = client.put("/files/half", body).open();
        upload.send("half");
        drop(upload); // the client goes away
        assert_eq!(answer.finish().status(), 400);
        assert_eq!(client.put("/files/large", "x".repeat(1001)).send().status(), 413);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn no_name_leads_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let client = super::Client::new(files(folder.path().into()));
        for name in ["", "..", "../x", ".hidden", "a/b", "a%2fb", "a b"] {
            let answer = client.put(&format!("/files/{}", name.replace(' ', "%20")), "x").send();
            assert_eq!(answer.status(), 404, "{name}");
        }
        assert_eq!(client.get("/files/none").send().status(), 404);
        assert_eq!(client.post("/files/a", "").send().status(), 405);
    }
}

mod async_upload {
    include!(concat!(env!("OUT_DIR"), "/async_upload.rs"));
}
