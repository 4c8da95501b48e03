//! The command line: what it makes of flags, and what it says of wrong ones.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use adapter_web::access_log::Format;
use adapter_web::cli::{Exit, parse_from};
use adapter_web::{Args, Bind, Launcher, ServerConfig};

/// A program with a flag of its own beside the shared ones.
#[derive(Debug, clap::Parser)]
#[command(name = "program", version)]
struct Cli {
    #[command(flatten)]
    serving: Args,
    #[arg(long)]
    own: Option<String>,
}

fn parse(args: &[&str]) -> Result<Cli, Exit> {
    parse_from(std::iter::once("program").chain(args.iter().copied()))
}

fn config(args: &[&str]) -> ServerConfig {
    parse(args).and_then(|cli| Ok(cli.serving.config()?)).unwrap()
}

/// The error of these flags, from parsing, from the configuration, or from picking the server.
fn error(args: &[&str]) -> Exit {
    let exit = parse(args).and_then(|cli| {
        cli.serving.config()?;
        Launcher::new(&cli.serving)
    });
    let exit = exit.unwrap_err();
    assert_eq!(exit.to_string().lines().count(), 1, "{exit}");
    exit
}

#[test]
fn without_flags_the_configuration_is_the_default_one() {
    assert_eq!(format!("{:?}", config(&[])), format!("{:?}", ServerConfig::default()));
    let cli = parse(&[]).unwrap();
    assert_eq!((cli.serving.server.as_str(), cli.serving.access_log, cli.own), ("auto", Format::Off, None));
}

#[test]
fn every_flag_reaches_the_configuration() {
    let line = "--bind 127.0.0.1:0 --bind unix:/run/a.sock --bind [::1]:81 --threads 3 --blocking-threads 4 \
                --blocking-queue 5 --no-keep-alive --mount-prefix /shop --trusted-proxy 10.0.0.1 \
                --trusted-proxy ::ffff:10.0.0.2 --trusted-proxy unix,192.168.0.0/16 --trusted-proxy * --forwarded forwarded --forwarded-also host,port --min-rate off \
                --proxy-protocol-from 10.0.0.3,unix --option a=b --option c=d=e --limit-head-bytes 8k \
                --limit-header-count 6 --limit-target-bytes 7k --limit-body-bytes 1m --limit-connections 8 \
                --limit-requests-per-connection 9 --timeout-header-read 100ms --timeout-keep-alive 2s \
                --timeout-body-read 3 --timeout-write 1m --timeout-handler 1h --timeout-graceful-shutdown 0 \
                --timeout-hooks off --timeout-tls-handshake 4s";
    let config = config(&line.split_whitespace().collect::<Vec<_>>());
    let binds: Vec<_> = config.binds.iter().map(Bind::to_string).collect();
    assert_eq!(binds, ["127.0.0.1:0", "unix:/run/a.sock", "[::1]:81"]);
    assert_eq!((config.threads, config.blocking_threads, config.blocking_queue), (Some(3), 4, 5));
    assert!(!config.keep_alive);
    assert_eq!(config.mount_prefix, "/shop");
    assert_eq!(
        format!("{:?}", config.trusted_proxies),
        "[Ip(10.0.0.1), Ip(10.0.0.2), Unix, Network(Network(192.168.0.0/16)), Any]"
    );
    assert_eq!(format!("{:?}", config.proxy_protocol_from), "[Ip(10.0.0.3), Unix]");
    assert_eq!(config.forwarded, adapter_web::server::ForwardedFields::Forwarded);
    assert_eq!(format!("{:?}", config.options), r#"{"a": "b", "c": "d=e"}"#);
    let limits = config.limits;
    assert_eq!((limits.head_bytes, limits.header_count, limits.target_bytes), (8192, 6, 7168));
    assert_eq!(limits.body_bytes, Some(1 << 20));
    assert_eq!((limits.connections, limits.requests_per_connection), (8, Some(9)));
    let timeouts = config.timeouts;
    let millis = |value: Option<Duration>| value.map(|value| value.as_millis());
    assert_eq!(millis(timeouts.header_read), Some(100));
    assert_eq!(millis(timeouts.keep_alive), Some(2000));
    assert_eq!(millis(timeouts.tls_handshake), Some(4000));
    assert_eq!(millis(timeouts.body_read), Some(3000));
    assert_eq!(millis(timeouts.write), Some(60_000));
    assert_eq!(millis(timeouts.handler), Some(3_600_000));
    assert_eq!(timeouts.graceful_shutdown, Duration::ZERO);
    assert_eq!(timeouts.hooks, None);
}

#[test]
fn several_addresses_in_one_flag_have_options_of_their_own() {
    let line = ["--bind", "127.0.0.1:1,[::1]:2,tls,unix:/a", "--bind", ":3,tls"];
    let cli = parse(&line).unwrap();
    let binds: Vec<_> = cli.serving.binds.iter().flat_map(|binds| &binds.0).map(Bind::to_string).collect();
    assert_eq!(binds, ["127.0.0.1:1", "[::1]:2,tls", "unix:/a", ":3,tls"]);
    let mut serving = cli.serving;
    serving.binds = vec![std::net::SocketAddr::from(([127, 0, 0, 1], 4)).into()];
    assert_eq!(serving.config().unwrap().binds_or_default()[0].to_string(), "127.0.0.1:4");
}

#[cfg(not(feature = "tls"))]
#[test]
fn a_build_without_tls_says_so() {
    for flag in [
        "--tls-cert x",
        "--tls-key x",
        "--tls-client-ca x",
        "--tls-client-auth off",
        "--tls-min-version 1.3",
        "--tls-self-signed",
    ] {
        let exit = error(&flag.split(' ').collect::<Vec<_>>());
        let name = flag.split(' ').next().unwrap();
        assert_eq!((exit.status(), exit.text()), (2, format!("{name}: this build has no TLS (feature tls)").as_str()));
    }
    assert!(!parse(&["--help"]).unwrap_err().text().contains("--tls"));
}

#[cfg(feature = "tls")]
#[test]
fn flags_of_tls_make_sense_together() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (empty, missing) = (path("empty"), path("missing"));
    std::fs::write(&empty, "").unwrap();
    let missing_is = format!("tls: {missing}: No such file or directory (os error 2)");
    let empty_is = format!("tls: {empty}: is empty");
    let folder_is = format!("tls: {}: is a directory", folder.path().display());
    for (line, says) in [
        (
            "--tls-cert a",
            "--tls-key: there must be as many as --tls-cert, a key for each certificate (there are 0 for 1)",
        ),
        (
            "--tls-key a",
            "--tls-key: there must be as many as --tls-cert, a key for each certificate (there are 1 for 0)",
        ),
        ("--tls-self-signed --tls-cert a --tls-key b", "--tls-self-signed: can't be used with --tls-cert"),
        ("--tls-min-version 1.3", "--tls-min-version: needs --tls-cert and --tls-key, or --tls-self-signed"),
        ("--tls-client-ca x", "--tls-client-ca: needs --tls-cert and --tls-key, or --tls-self-signed"),
        ("--tls-client-auth off", "--tls-client-auth: needs --tls-cert and --tls-key, or --tls-self-signed"),
        ("--tls-self-signed --tls-client-auth required", "--tls-client-auth: needs --tls-client-ca"),
        ("--tls-cert MISSING --tls-key x", &missing_is),
        ("--tls-cert EMPTY --tls-key x", &empty_is),
        ("--tls-cert FOLDER --tls-key x", &folder_is),
        ("--tls-self-signed --tls-client-ca MISSING", &missing_is),
    ] {
        let folder = folder.path().to_str().unwrap();
        let line = line.replace("MISSING", &missing).replace("EMPTY", &empty).replace("FOLDER", folder);
        let exit = error(&line.split(' ').collect::<Vec<_>>());
        assert_eq!((exit.status(), exit.text()), (2, says), "{line}");
    }
    assert!(error(&["--tls-min-version", "1.1"]).text().contains("possible values: 1.2, 1.3"));
    assert!(error(&["--tls-client-auth", "maybe"]).text().contains("possible values: off, optional, required"));
    let told = |line: &[&str]| {
        let config = config(line);
        assert!(config.tls.is_some());
        config.binds_or_default().iter().map(Bind::to_string).collect::<Vec<_>>()
    };
    assert_eq!(told(&["--tls-self-signed"]), ["127.0.0.1:8080,tls"]);
    assert_eq!(told(&["--tls-self-signed", "--tls-min-version", "1.3", "--bind", ":1"]), [":1,tls"]);
    assert_eq!(told(&["--tls-self-signed", "--bind", ":1", "--bind", ":2,tls"]), [":1", ":2,tls"]);
    assert_eq!(told(&["--tls-self-signed", "--tls-client-ca", &missing, "--tls-client-auth", "off"]).len(), 1);
}

#[test]
fn limits_and_timeouts_can_be_turned_off() {
    let config = config(&["--limit-body-bytes", "off", "--timeout-keep-alive", "none"]);
    assert_eq!((config.limits.body_bytes, config.timeouts.keep_alive), (None, None));
}

#[test]
fn the_access_log_is_common_unless_said_otherwise() {
    let format = |args: &[&str]| parse(args).unwrap().serving.access_log;
    assert_eq!(format(&["--access-log"]), Format::Common);
    assert_eq!(format(&["--access-log", "--own", "x"]), Format::Common);
    assert_eq!(format(&["--access-log", "combined"]), Format::Combined);
    assert_eq!(format(&["--access-log=events"]), Format::Events);
    assert_eq!(format(&["--access-log", "off"]), Format::Off);
}

#[test]
fn metrics_have_an_address_of_tcp() {
    let bind = |text: &str| parse(&["--metrics-bind", text]).map(|cli| cli.serving.metrics_bind.unwrap().to_string());
    for text in ["127.0.0.1:9100", ":9100", "[::1]:9100"] {
        assert_eq!(bind(text).unwrap(), text);
    }
    for text in ["unix:/run/x", "fd:3", ":9100,tls", "9100"] {
        assert_eq!(bind(text).unwrap_err().status(), 2, "{text}");
    }
    assert!(parse(&[]).unwrap().serving.metrics_bind.is_none());
}

#[test]
fn wrong_use_is_one_line_and_status_2() {
    for (args, says) in [
        (&["--nope"][..], "unexpected argument '--nope' found"),
        (&["--bnd", "x"], "unexpected argument '--bnd' found; a similar argument exists: '--bind'"),
        (&["stray"], "unexpected argument 'stray' found"),
        (&["--bind", "127.0.0.1"], "invalid value '127.0.0.1' for '--bind <ADDR>'"),
        (&["--bind", "unix:"], "invalid value 'unix:' for '--bind <ADDR>'"),
        (&["--bind", "127.0.0.1:0,localhost"], "there is no option \"localhost\", only tls, proxy, mode=0660"),
        (&["--bind", "127.0.0.1:0,tls"], "tls: there are no certificates for 127.0.0.1:0,tls"),
        (
            &["--bind", "127.0.0.1:0,proxy"],
            "--proxy-protocol-from: has to name the proxies that may speak on 127.0.0.1:0,proxy, as none are trusted",
        ),
        (&["--bind", "127.0.0.1:99999"], "invalid value '127.0.0.1:99999' for '--bind <ADDR>'"),
        (&["--bind"], "a value is required for '--bind <ADDR>' but none was supplied"),
        (&["--threads", "many"], "invalid value 'many' for '--threads <N>'"),
        (&["--threads", "0"], "threads: must be at least 1"),
        (&["--timeout-write", "soon"], "expected a duration like 500ms, 2s, 1m or 1h"),
        (&["--timeout-write", "0"], "--timeout-write: must not be zero"),
        (&["--limit-body-bytes", "1x"], "expected a size like 4096, 64k, 1m or 1g"),
        (&["--limit-head-bytes", "10"], "--limit-head-bytes: must be at least 8192"),
        (&["--mount-prefix", "shop/"], "--mount-prefix: must be empty or begin with"),
        (&["--trusted-proxy", "proxy"], "expected an IP address, a network such as 10.0.0.0/8"),
        (&["--forwarded", "both"], "expected x-forwarded, forwarded, x-real-ip, header:NAME or off"),
        (&["--option", "novalue"], "expected KEY=VALUE"),
        (&["--option", "a=1", "--option", "a=2"], "a: the option is given more than once"),
        (&["--access-log", "fancy"], "possible values: off, common, combined, json, events"),
        (&["--server", "a", "--server", "b"], "cannot be used multiple times"),
        (&["--server", "x"], "unknown server \"x\""),
        (&["--server", "two\nlines"], "unknown server \"two\\nlines\""),
        (&["--nope\n\x1b[31m"], "unexpected argument '--nope"),
    ] {
        let exit = error(args);
        assert_eq!(exit.status(), 2, "{args:?}: {exit}");
        assert!(exit.to_string().starts_with("error: "), "{exit}");
        assert!(exit.to_string().contains(says), "{args:?}: {exit}");
        assert!(!exit.text().contains("Usage") && !exit.text().contains('\x1b'), "{exit}");
    }
}

#[cfg(any(feature = "hyper", feature = "actix"))]
#[test]
fn a_misspelt_log_level_is_wrong_use() {
    let exit = error(&["--log", "verbose"]);
    assert_eq!(
        (exit.status(), exit.text()),
        (2, "--log: \"verbose\" is no level (off, error, warn, info, debug, trace)")
    );
    assert_eq!(error(&["--log", "info,a=loud"]).status(), 2);
}

#[test]
fn help_and_version_and_the_list_of_servers_are_no_errors() {
    let help = parse(&["--help"]).unwrap_err();
    assert_eq!(help.status(), 0);
    for flag in ["--server", "--own", "ADAPTER_TIMEOUT_WRITE", "[default: 75s]", "[default: 1g]", "Limits:"] {
        assert!(help.text().contains(flag), "{flag} is not in\n{}", help.text());
    }
    assert_eq!(parse(&["--version"]).unwrap_err(), Exit::done(format!("program {}\n", env!("CARGO_PKG_VERSION"))));
    let list = Launcher::new(&parse(&["--list-servers"]).unwrap().serving).unwrap_err();
    assert_eq!(list, Exit::done(adapter_web::registry::table()));
}

#[test]
fn servers_of_ones_own_are_listed_and_picked() {
    struct Own;
    impl adapter_web::Server for Own {
        fn info(&self) -> adapter_web::ServerInfo {
            adapter_web::ServerInfo::new("own", "7")
        }

        fn start(
            &self,
            _application: adapter_web::DynApplication,
            _config: ServerConfig,
        ) -> Result<adapter_web::ServerHandle, adapter_web::ServeError> {
            Err(adapter_web::ServeError::config("own", "serves nothing"))
        }
    }
    let args = |line: &[&str]| parse(line).unwrap().serving;
    for listed in [
        Launcher::with_server(&Own, &args(&["--list-servers"])).unwrap_err(),
        Launcher::among(&[&Own], &args(&["--list-servers"])).unwrap_err(),
    ] {
        assert!(listed.status() == 0 && listed.text().contains("own"), "{listed}");
        assert_eq!(listed.text().lines().count(), 2);
    }
    assert!(Launcher::among(&[&Own], &args(&["--server", "own"])).is_ok());
    let unknown = Launcher::among(&[&Own], &args(&["--server", "other"])).unwrap_err();
    assert_eq!(unknown.text(), "unknown server \"other\"; known are: own");
}

#[test]
fn every_flag_has_its_environment_variable() {
    use clap::CommandFactory as _;
    let command = Cli::command();
    // In the environment a health check would take the place of every start.
    let without = ["own", "help", "version", "healthcheck"];
    for argument in command.get_arguments().filter(|argument| !without.contains(&argument.get_id().as_str())) {
        let flag = argument.get_long().unwrap();
        let expected = format!("ADAPTER_{}", flag.replace('-', "_").to_uppercase());
        assert_eq!(argument.get_env().and_then(std::ffi::OsStr::to_str), Some(expected.as_str()), "--{flag}");
    }
}

#[test]
fn lists_have_blanks_around_their_elements() {
    let config = config(&[
        "--bind=127.0.0.1:81, 127.0.0.1:82 , backlog=7",
        "--trusted-proxy= 10.0.0.1 , unix",
        "--proxy-protocol-from=10.0.0.1, 10.0.0.2",
        "--forwarded-also=host, port",
        "--option=a=b; c=d",
    ]);
    let binds: Vec<_> = config.binds.iter().map(Bind::to_string).collect();
    assert_eq!(binds, ["127.0.0.1:81", "127.0.0.1:82,backlog=7"]);
    assert_eq!(
        (config.trusted_proxies.len(), config.proxy_protocol_from.len(), config.forwarded_also.len()),
        (2, 2, 2)
    );
    assert_eq!(config.options.keys().collect::<Vec<_>>(), ["a", "c"]);
    let cli = parse(&["--tls-cert=a.pem, b.pem"]).unwrap();
    assert_eq!(cli.serving.tls_cert, ["a.pem", "b.pem"].map(std::path::PathBuf::from));
}

#[test]
fn what_is_printed_is_what_a_start_would_take() {
    for (args, problem) in [
        (["--threads", "0"], "--threads: "),
        (["--log", "loud"], "--log: \"loud\" is no level"),
        (["--tls-cert", "/nowhere/cert.pem"], "--tls-"),
        (["--option", "a=1;a=2"], "a: the option is given more than once"),
    ] {
        let exit = parse(&[args[0], args[1], "--print-config"]).err().unwrap();
        assert_eq!((exit.status(), exit.text().contains(problem)), (2, true), "{args:?}: {}", exit.text());
    }
}

#[test]
fn a_file_is_beneath_the_command_line_and_what_is_printed_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.toml");
    let file = "bind = ['127.0.0.1:81', 'unix:/run/a\"b.sock']\ntimeout-write = '3s'\nthreads = 5\nno-keep-alive = true\n\
                limit-body-bytes = 'off'\ntrusted-proxy = ['10.0.0.0/8']\n";
    std::fs::write(&path, file).unwrap();
    let path = path.to_str().unwrap();
    let of_file = config(&["--config", path, "--timeout-write", "4s"]);
    let seconds = |config: &ServerConfig| config.timeouts.write.map(|write| write.as_secs());
    assert_eq!((seconds(&of_file), of_file.threads, of_file.keep_alive), (Some(4), Some(5), false));
    assert_eq!(of_file.limits.body_bytes, None);
    let binds = |config: &ServerConfig| config.binds.iter().map(Bind::to_string).collect::<Vec<_>>();
    assert_eq!(binds(&of_file), ["127.0.0.1:81", "unix:/run/a\"b.sock"]);
    assert_eq!(binds(&config(&["--config", path, "--bind", ":82"])), [":82"], "a list as a whole");
    // What is printed is read as the same.
    let Err(printed) = parse(&["--config", path, "--timeout-write", "4s", "--print-config"]) else {
        panic!("it goes on")
    };
    assert_eq!(printed.status(), 0);
    for line in [
        "timeout-write = \"4s\" # command line",
        "threads = 5 # file",
        "bind = [\"127.0.0.1:81\", \"unix:/run/a\\\"b.sock\"] # file",
        "timeout-hooks = \"60s\" # default",
        "# trusted-hops is not set",
        "no-keep-alive = true # file",
    ] {
        assert!(printed.text().contains(line), "{line} in\n{}", printed.text());
    }
    let again = folder.path().join("again.toml");
    std::fs::write(&again, printed.text()).unwrap();
    let again = config(&["--config", again.to_str().unwrap()]);
    assert_eq!(format!("{again:?}"), format!("{of_file:?}"));
    for (text, problem) in [("threads = 'x'", "threads: invalid value 'x'"), ("bindd = 1", "unknown key \"bindd\"")] {
        std::fs::write(path, text).unwrap();
        let refused = parse(&["--config", path]).err().unwrap();
        assert_eq!((refused.status(), refused.text().contains(problem)), (2, true), "{}", refused.text());
    }
    let missing = parse(&["--config", "/nowhere/app.toml"]).err().unwrap();
    assert_eq!((missing.status(), missing.text().lines().count()), (2, 1));
}
