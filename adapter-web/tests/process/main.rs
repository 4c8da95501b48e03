//! Whole processes: exit statuses, what goes to stderr, signals, inherited sockets, on every server of this build.
//!
//! This binary is both sides: started with `TEST_OF_ADAPTER_PROGRAM` it is a program on the facade, else the tests. Every
//! wait is for an event and has a deadline.

#[cfg(all(unix, feature = "tls"))]
mod certificates;

#[cfg(unix)]
#[path = "../support/exposition.rs"]
mod exposition;
#[cfg(unix)]
mod metrics;
#[cfg(unix)]
mod operator;
#[cfg(unix)]
mod program;
#[cfg(unix)]
mod trust;
#[cfg(unix)]
mod websockets;
#[cfg(unix)]
mod workers;

#[cfg(unix)]
mod unix {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::path::PathBuf;
    use std::process::{Command, ExitCode, Stdio};
    use std::sync::mpsc::channel;
    use std::thread;
    use std::time::{Duration, Instant};

    use adapter_web::{
        Body, DynApplication, Environ, Error, Request, Response, ServeError, Server, ServerConfig, ServerHandle,
        ServerInfo,
    };
    use libtest_mimic::{Arguments, Failed, Trial};

    use crate::program::*;
    use crate::{metrics, operator, trust, websockets, workers};

    pub(crate) fn main() -> ExitCode {
        if std::env::var_os(PROGRAM).is_some() {
            return match std::env::var(PROGRAM).as_deref() {
                Ok("macro") => adapter_web::serve!(application),
                Ok("about") => adapter_web::serve!(application, about = "Sells tea"),
                Ok("sleepy") => adapter_web::serve(operator::Sleepy),
                Ok("moody") => adapter_web::serve(workers::Moody),
                Ok("fragile") => adapter_web::serve!(Fragile::new()),
                Ok("added") => {
                    adapter_web::registry::add(&Mine).expect("its name is free");
                    adapter_web::serve(application)
                }
                _ => adapter_web::serve(application),
            };
        }
        let mut trials = vec![
            trial("wrong_use_is_one_line_and_status_2", wrong_use),
            trial("help_version_and_list_go_to_stdout", informational),
            trial("the_macro_tells_the_programs_own_version", own_version),
            trial("a_server_that_was_added_is_known_by_name", added_server),
        ];
        trials
            .push(trial("systemd_takes_the_units", operator::units).with_ignored_flag(!operator::units_are_verified()));
        type Case = (&'static str, fn(&str));
        let cases: &[Case] = &[
            ("a_port_in_use_is_one_line_and_status_1", port_in_use),
            ("an_unknown_option_is_one_line_and_status_2", unknown_option),
            ("sigterm_drains_and_the_port_is_free_at_once", sigterm_drains),
            ("a_second_signal_forces", second_signal),
            ("the_environment_sets_flags", environment),
            ("inherited_sockets_are_served", inherited),
            ("inherited_sockets_are_found_by_name", descriptors),
            ("unix_sockets_are_served", unix_sockets),
            ("the_access_log_is_complete_when_the_program_ends", access_log),
            ("an_interrupt_passed_on_is_no_second_one", interrupt_twice),
            ("a_hang_up_reloads_and_ends_nothing", operator::hang_up),
            ("trusted_proxies_are_read_again_at_a_hang_up", trust::again),
            ("listeners_with_the_proxy_protocol_are_told", trust::told),
            ("trusted_proxies_of_workers_are_read_by_new_ones", trust::of_workers),
            ("quit_stops_at_once", operator::quit),
            ("a_log_that_is_rotated_loses_no_line", operator::rotation),
            ("a_slow_startup_can_be_interrupted", operator::slow_startup),
            ("a_service_manager_is_told", operator::notifies),
            ("the_watchdog_is_fed_while_event_loops_answer", operator::watchdog),
            ("upgrades_lose_no_request", operator::upgrades),
            ("websockets_are_told_of_an_upgrade", websockets::upgrade),
            ("an_upgrade_that_fails_changes_nothing", operator::failed_upgrade),
            ("an_upgrade_that_does_not_start_leaves_the_path", operator::upgrade_without_startup),
            ("the_first_signal_behind_an_upgrade_does_not_force", operator::signal_behind_upgrade),
            ("port_and_rust_log_are_honoured", operator::conventions),
            ("a_delay_before_the_drain_serves_on", operator::drain_delay),
            ("metrics_are_told_from_the_start_to_the_end", metrics::life),
            ("metrics_are_told_while_all_threads_are_busy", metrics::busy),
            ("metrics_that_cannot_be_told_are_refused", metrics::misuse),
            ("metrics_are_told_through_upgrades", metrics::upgrade),
            ("workers_all_answer", workers::answers),
            ("an_access_log_of_workers_has_whole_lines", workers::access_log),
            ("a_worker_that_is_full_takes_nobody_from_one_that_is_not", workers::full),
            ("a_worker_that_ends_is_replaced", workers::killed),
            ("a_worker_that_hangs_is_replaced", workers::hanging),
            ("workers_become_more_and_fewer", workers::number_of_them),
            ("workers_and_their_parent_are_replaced_under_load", workers::replaced),
            ("the_first_signal_does_not_force_a_worker_that_was_replaced", workers::signal_behind_replacement),
            ("new_workers_that_do_not_start_change_nothing", workers::not_replaced),
            ("workers_that_do_not_start_say_why_in_one_line", workers::none_starts),
            ("sigterm_ends_all_workers_at_any_time", workers::ends),
            ("workers_end_when_their_parent_is_killed", workers::orphans),
            ("a_service_manager_is_told_by_the_parent_of_workers", workers::managed),
            ("empty_variables_are_not_set", empty_variables),
            ("an_inherited_socket_that_does_not_listen_is_an_error", inherited_deaf),
            ("a_port_alone_is_every_interface_of_both_families", every_interface),
            ("localhost_is_both_families_with_one_port", localhost),
            ("every_interface_of_one_family_is_beside_the_other", side_by_side),
            ("a_group_that_is_not_known_is_one_line_and_status_1", unknown_group),
            ("a_stdout_nobody_reads_holds_up_nothing", stdout_unread),
            ("many_lines_nobody_reads_hold_up_nothing", stdout_unread_by_many),
            ("a_stderr_nobody_reads_holds_up_nothing", stderr_unread),
            ("a_successors_socket_is_not_deleted", successor),
            ("the_longest_times_are_never", longest_times),
            ("limits_that_cannot_be_kept_are_refused", limits_too_large),
            ("an_applications_drop_changes_no_status", fragile),
            ("tasks_that_never_end_are_told_and_dropped", endless_tasks),
            #[cfg(feature = "tls")]
            ("certificates_are_read_again_at_a_hang_up", crate::certificates::case),
            #[cfg(feature = "tls")]
            ("certificates_of_workers_are_read_by_new_ones", crate::certificates::of_workers),
            #[cfg(not(feature = "tls"))]
            ("a_build_without_tls_says_so", without_tls),
        ];
        if let Some(server) = adapter_web::registry::names().into_iter().next() {
            trials.push(trial("metrics_are_scraped_by_prometheus", move || metrics::prometheus(&server)));
        }
        for server in adapter_web::registry::names() {
            for &(name, case) in cases {
                let server = server.clone();
                trials.push(trial(&format!("{server}::{name}"), move || case(&server)));
            }
        }
        libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
    }

    fn trial(name: &str, case: impl FnOnce() + Send + 'static) -> Trial {
        Trial::test(name, move || {
            case();
            Ok::<(), Failed>(())
        })
    }

    /// In one piece, for it may be one process of several.
    fn called_here(path: &str) -> std::io::Result<()> {
        std::io::stderr().write_all(format!("called {path} by {}\n", std::process::id()).as_bytes())
    }

    /// The program under test.
    pub(crate) async fn application(request: Request, environ: Environ) -> Result<Response, Error> {
        let path = request.uri().path();
        if path.starts_with("/report/") {
            environ.report(format!("reported {path}"));
        }
        if path.starts_with("/panic/") {
            panic!("panicked at {path}");
        }
        if path == "/slow" {
            writeln!(std::io::stderr(), "called {path}")?;
            environ.shutting_down().await;
            environ.runtime().sleep(Duration::from_millis(300)).await;
        }
        if path == "/hold" {
            called_here(path)?;
            thread::sleep(DEADLINE);
        }
        if path == "/held" {
            called_here(path)?;
            environ.shutting_down().await;
        }
        if path == "/peer" {
            return Ok(Response::new(Body::from(format!("{:?}", environ.peer_addr().map(|peer| peer.ip())))));
        }
        if path == "/process" {
            return Ok(Response::new(Body::from(std::process::id().to_string())));
        }
        if path == "/spawn" {
            environ.runtime().spawn(std::future::pending::<()>()).detach();
            environ.runtime().spawn_daemon(std::future::pending::<()>()).detach();
        }
        if path == "/websocket" {
            return websockets::echo(&request, &environ);
        }
        if path == "/drained" || path == "/never" {
            // tells the test that the request is in flight
            writeln!(std::io::stderr(), "called {path}")?;
            environ.shutting_down().await;
            if path == "/never" {
                std::future::pending::<()>().await;
            }
        }
        Ok(Response::new(Body::from("hello")))
    }

    fn wrong_use() {
        let known = adapter_web::registry::names().join(", ");
        if !known.is_empty() {
            fails(&["--server", "x"], 2, &format!("error: unknown server \"x\"; known are: {known}"));
        }
        fails(&["--nope"], 2, "error: unexpected argument '--nope' found");
        fails(&["--bind", "nonsense"], 2, "error: invalid value 'nonsense' for '--bind <ADDR>'");
        fails(&["--workers", "0"], 2, "error: invalid value '0' for '--workers <N>': expected a number from 1 to 1000");
        if !known.is_empty() {
            fails(&["--timeout-worker", "0"], 2, "error: --timeout-worker: must not be zero; off is no limit");
        }
        fails(
            &["--timeout-write", "0"],
            2,
            if known.is_empty() { "error: " } else { "error: --timeout-write: must not" },
        );
    }

    fn informational() {
        for flag in ["--help", "--version", "--list-servers"] {
            let (ended, stderr, stdout) = start(command(&[flag])).end();
            assert_eq!((ended.code(), stderr.len()), (Some(0), 0), "{flag}: {stderr:?}");
            assert!(!stdout.is_empty(), "{flag}");
        }
        let (_, _, stdout) = start(command(&["--version"])).end();
        let program = std::env::current_exe().expect("this binary has a path");
        let program = program.file_stem().expect("and a name").to_string_lossy().into_owned();
        let says = format!("{program} (version unknown), on adapter {}", env!("CARGO_PKG_VERSION"));
        assert_eq!(stdout, [says]);
        let (_, _, stdout) = start(command(&["--help"])).end();
        assert!(stdout.iter().any(|line| line.contains(&program)), "{stdout:?}");
    }

    /// A server of the program's own.
    struct Mine;

    impl Server for Mine {
        fn info(&self) -> ServerInfo {
            ServerInfo::new("mine", "1.2.3")
        }

        fn start(&self, _: DynApplication, _: ServerConfig) -> Result<ServerHandle, ServeError> {
            Err(std::io::Error::other("mine was picked").into())
        }
    }

    fn added_server() {
        let ends = |args: &[&str]| {
            let mut command = command(args);
            command.env(PROGRAM, "added");
            let (ended, stderr, stdout) = start(command).end();
            (ended.code(), stderr.join("\n"), stdout.join("\n"))
        };
        let (status, stderr, _) = ends(&["--server", "mine"]);
        assert_eq!((status, stderr.as_str()), (Some(1), "error: the server failed: mine was picked"));
        let (status, stderr, _) = ends(&["--server", "mine", "--workers", "2"]);
        assert_eq!((status, stderr.as_str()), (Some(2), "error: --workers: mine binds its addresses by itself"));
        let (status, _, listed) = ends(&["--list-servers"]);
        assert!(status == Some(0) && listed.contains("\nmine "), "{listed}");
        let (status, stderr, _) = ends(&["--server", "x"]);
        assert!(status == Some(2) && stderr.ends_with("mine"), "{stderr}");
        if adapter_web::servers().is_empty() {
            assert_eq!(ends(&[]).1, "error: the server failed: mine was picked", "auto");
        }
    }

    /// Owns what can't be dropped just anywhere, and its drop panics.
    struct Fragile(Option<tokio::runtime::Runtime>);

    impl Fragile {
        fn new() -> Self {
            Fragile(Some(tokio::runtime::Builder::new_multi_thread().build().expect("a runtime")))
        }
    }

    impl adapter_web::Application for Fragile {
        async fn call(&self, request: Request, environ: Environ) -> Result<Response, Error> {
            application(request, environ).await
        }
    }

    impl Drop for Fragile {
        fn drop(&mut self) {
            drop(self.0.take());
            panic!("in the drop of the application");
        }
    }

    fn own_version() {
        let output = |kind: &str, flag: &str| {
            let mut command = command(&[flag]);
            command.env(PROGRAM, kind);
            start(command).end().2
        };
        let program = std::env::current_exe().expect("this binary has a path");
        let program = program.file_stem().expect("and a name").to_string_lossy().into_owned();
        assert_eq!(output("macro", "--version"), [format!("{program} {}", env!("CARGO_PKG_VERSION"))]);
        assert_eq!(output("macro", "--help").first().map(String::as_str), Some(env!("CARGO_PKG_DESCRIPTION")));
        assert_eq!(output("about", "--help").first().map(String::as_str), Some("Sells tea"));
    }

    /// A drop that panics changes no exit status: not of a good end, of wrong use, or of a start that fails.
    fn fragile(server: &str) {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = taken.local_addr().expect("an address").to_string();
        let free = ["--server", server, "--bind", "127.0.0.1:0"];
        let ends: [(&[&str], i32); 3] = [(&["--nope"], 2), (&["--server", server, "--bind", &address], 1), (&free, 0)];
        for (args, status) in ends {
            let mut command = command(args);
            command.env(PROGRAM, "fragile");
            let program = start(command);
            if status == 0 {
                program.address();
                program.signal("-TERM");
            }
            let (ended, stderr, _) = program.end();
            assert_eq!(ended.code(), Some(status), "{args:?}: {stderr:?}");
            assert!(!stderr.iter().any(|line| line.contains("blocking is not allowed")), "{args:?}: {stderr:?}");
        }
    }

    /// A task that never ends is waited for until the deadline, or until a second signal; one line says how many there were.
    fn endless_tasks(server: &str) {
        for forced in [false, true] {
            let limit = if forced { "1h" } else { "300ms" };
            let program =
                start(command(&["--server", server, "--bind", "127.0.0.1:0", "--timeout-graceful-shutdown", limit]));
            let address = program.address();
            assert!(talk(connect(&address), "/spawn").ends_with("hello"));
            program.signal("-TERM");
            assert_eq!(program.line(), "adapter: SIGTERM: draining, once more to force");
            if forced {
                // The same one within a second is the one before.
                program.signal("-INT");
            }
            let (ended, stderr, _) = program.end();
            assert_eq!(ended.code(), Some(0), "{stderr:?}");
            let says =
                if forced { "the shutdown was forced; spawned tasks are dropped" } else { "deadline has passed" };
            let warnings: Vec<_> = stderr.iter().filter(|line| line.contains("WARN")).collect();
            assert_eq!(warnings.len(), 1, "{stderr:?}");
            assert!(warnings[0].contains(says) && warnings[0].contains("tasks=1"), "{stderr:?}");
        }
    }

    fn port_in_use(server: &str) {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = taken.local_addr().expect("an address").to_string();
        fails(
            &["--server", server, "--bind", &address],
            1,
            &format!("error: cannot listen on {address}: Address already in use"),
        );
    }

    fn unknown_option(server: &str) {
        fails(
            &["--server", server, "--bind", "127.0.0.1:0", "--option", "no-such=1"],
            2,
            &format!("error: no-such: the server \"{server}\" has no such option"),
        );
    }

    fn sigterm_drains(server: &str) {
        let program = start(command(&["--server", server, "--bind", "127.0.0.1:0"]));
        let address = program.address();
        assert!(talk(connect(&address), "/").ends_with("\r\n\r\nhello"));
        let idle = connect(&address);
        let mut in_flight = ask(&address, "/drained");
        assert_eq!(program.line(), "called /drained");
        program.signal("-TERM");
        assert_eq!(program.line(), "adapter: SIGTERM: draining, once more to force");
        let drained = answer(&mut in_flight);
        assert!(drained.contains("connection: close") && drained.ends_with("\r\n\r\nhello"), "{drained}");
        let (ended, stderr, stdout) = program.end();
        assert_eq!((ended.code(), stderr.len(), stdout.len()), (Some(0), 0, 0), "{stderr:?}");
        drop(idle);
        TcpListener::bind(&address).expect("the port is free");
    }

    fn second_signal(server: &str) {
        let program =
            start(command(&["--server", server, "--bind", "127.0.0.1:0", "--timeout-graceful-shutdown", "1h"]));
        let address = program.address();
        let _in_flight = ask(&address, "/never");
        assert_eq!(program.line(), "called /never");
        program.signal("-INT");
        assert_eq!(program.line(), "adapter: SIGINT: draining, once more to force");
        program.signal("-TERM");
        let (ended, stderr, _) = program.end();
        assert_eq!(ended.code(), Some(0), "{stderr:?}");
        assert_eq!(stderr, ["adapter: SIGTERM: stopping at once, once more to kill"]);
    }

    fn environment(server: &str) {
        let mut command = command(&[]);
        command.env("ADAPTER_SERVER", server).env("ADAPTER_BIND", "127.0.0.1:0,127.0.0.1:0");
        let program = start(command);
        for address in [program.address(), program.address()] {
            assert!(talk(connect(&address), "/").ends_with("\r\n\r\nhello"));
        }
        program.signal("-TERM");
        assert_eq!(program.end().0.code(), Some(0));
    }

    fn interrupt_twice(server: &str) {
        let program = start(command(&["--server", server, "--bind", "127.0.0.1:0"]));
        let address = program.address();
        let mut in_flight = ask(&address, "/slow");
        assert_eq!(program.line(), "called /slow");
        program.signal("-INT");
        assert_eq!(program.line(), "adapter: SIGINT: draining, once more to force");
        program.signal("-INT");
        let answer = answer(&mut in_flight);
        assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");
        let (ended, stderr, _) = program.end();
        assert_eq!((ended.code(), stderr.len()), (Some(0), 0), "{stderr:?}");
    }

    #[cfg(not(feature = "tls"))]
    fn without_tls(_server: &str) {
        fails(&["--tls-self-signed"], 2, "error: --tls-self-signed: this build has no TLS (feature tls)");
    }

    fn longest_times(server: &str) {
        let names = ["header-read", "keep-alive", "body-read", "write", "handler", "graceful-shutdown", "hooks"];
        let flags = names.map(|name| [format!("--timeout-{name}"), "18446744073709551615s".into()]).concat();
        let mut command = command(&["--server", server, "--bind", "127.0.0.1:0"]);
        command.args(flags);
        let program = start(command);
        let address = program.address();
        let mut stream = connect(&address);
        write!(stream, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")
            .expect("written");
        assert!(answer(&mut stream).ends_with("\r\n\r\nhello"));
        let mut in_flight = ask(&address, "/slow");
        assert_eq!(program.line(), "called /slow");
        program.signal("-TERM");
        assert!(answer(&mut in_flight).ends_with("\r\n\r\nhello"));
        let (ended, stderr, _) = program.end();
        assert_eq!((ended.code(), stderr.len()), (Some(0), 1), "{stderr:?}");
    }

    fn limits_too_large(server: &str) {
        for (flag, value, says) in [
            ("--limit-header-count", "40000", "error: --limit-header-count: must be at most 16384"),
            ("--limit-target-bytes", "1m", "error: --limit-target-bytes: must be at most 65534"),
            ("--limit-head-bytes", "8g", "error: --limit-head-bytes: must be at most 16777216"),
        ] {
            fails(&["--server", server, "--bind", "127.0.0.1:0", flag, value], 2, says);
        }
    }

    /// A program with every variable set to nothing but `ADAPTER_SERVER`.
    fn emptied(server: &str, args: &[&str]) -> Command {
        use clap::CommandFactory as _;
        #[derive(clap::Parser)]
        struct Cli {
            #[command(flatten)]
            _serving: adapter_web::Args,
        }
        let mut command = command(args);
        for argument in Cli::command().get_arguments() {
            command.envs(argument.get_env().map(|name| (name.to_owned(), "")));
        }
        command.env("ADAPTER_SERVER", server);
        command
    }

    fn empty_variables(server: &str) {
        let program = start(emptied(server, &["--bind", "127.0.0.1:0"]));
        assert!(talk(connect(&program.address()), "/").ends_with("\r\n\r\nhello"));
        program.signal("-TERM");
        assert_eq!(program.end().0.code(), Some(0));
    }

    fn inherited_deaf(server: &str) {
        let deaf = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        deaf.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("an address");
        let (ended, stderr, _) = activated(server, deaf).end();
        assert_eq!(ended.code(), Some(1), "{stderr:?}");
        let says = "error: cannot listen on descriptor 3 (LISTEN_FDS): it does not listen";
        assert_eq!(stderr.last().map(String::as_str), Some(says), "{stderr:?}");
        let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
        let (ended, stderr, _) = activated(server, datagrams).end();
        assert_eq!((ended.code(), stderr.len()), (Some(1), 1), "{stderr:?}");
        assert!(stderr[0].starts_with("error: cannot listen on descriptor 3 (LISTEN_FDS): "), "{stderr:?}");
    }

    fn every_interface(server: &str) {
        let program = start(command(&["--server", server, "--bind", ":0", "--access-log"]));
        let told = program.address();
        let port = told.split_once("localhost:").and_then(|(_, rest)| rest.split_once(' ')).expect("a port").0;
        assert!(told.contains("every interface"), "{told}");
        assert!(talk(connect(&format!("127.0.0.1:{port}")), "/").ends_with("\r\n\r\nhello"));
        let mut expected = vec!["127.0.0.1 - - "];
        if TcpListener::bind("[::1]:0").is_ok() {
            assert!(talk(connect(&format!("[::1]:{port}")), "/").ends_with("\r\n\r\nhello"));
            expected.push("::1 - - ");
        }
        program.signal("-TERM");
        let (ended, _, stdout) = program.end();
        assert_eq!(ended.code(), Some(0));
        let peers: Vec<_> = stdout.iter().filter_map(|line| line.split_once('[').map(|(peer, _)| peer)).collect();
        assert_eq!(peers, expected);
    }

    fn localhost(server: &str) {
        let program = start(command(&["--server", server, "--bind", "localhost:0"]));
        let address = program.address();
        let port = address.rsplit_once(':').expect("a port").1;
        assert_eq!(address, format!("127.0.0.1:{port}"));
        assert!(talk(connect(&address), "/").ends_with("\r\n\r\nhello"));
        if TcpListener::bind("[::1]:0").is_ok() {
            assert_eq!(program.address(), format!("[::1]:{port}"));
            assert!(talk(connect(&format!("[::1]:{port}")), "/").ends_with("\r\n\r\nhello"));
        }
        program.signal("-TERM");
        assert_eq!(program.end().0.code(), Some(0));
    }

    /// Lines of some kilobytes fill the buffers of a pipe soon.
    /// `0.0.0.0` and `[::]` with one port, in both orders: each has the clients of its family.
    fn side_by_side(server: &str) {
        if TcpListener::bind("[::1]:0").is_err() {
            return;
        }
        for first in ["0.0.0.0", "[::]"] {
            // Somebody else may take the port before the second is bound.
            let started = (0..20).find_map(|_| {
                let free = TcpListener::bind("[::]:0").and_then(|free| free.local_addr()).expect("a port").port();
                let binds = if first == "[::]" { ["[::]", "0.0.0.0"] } else { ["0.0.0.0", "[::]"] };
                let [one, other] = binds.map(|host| format!("{host}:{free}"));
                let args = ["--server", server, "--bind", &one, "--bind", &other, "--access-log"];
                let program = start(command(&args));
                let line = program.line();
                (!line.contains("already in use")).then_some((program, line, free))
            });
            let (program, line, port) = started.expect("a port that is free on both");
            let lines = [line, program.line()];
            let told =
                [format!("(every interface, IPv4: 0.0.0.0:{port})"), format!("(every interface, IPv6: [::]:{port})")];
            assert!(told.iter().all(|told| lines.iter().any(|line| line.ends_with(told))), "{lines:?}");
            for host in ["127.0.0.1", "[::1]"] {
                assert!(talk(connect(&format!("{host}:{port}")), "/").ends_with("\r\n\r\nhello"));
            }
            program.signal("-TERM");
            let (ended, _, stdout) = program.end();
            let peers: Vec<_> = stdout.iter().filter_map(|line| line.split(' ').next()).collect();
            assert_eq!((ended.code(), peers), (Some(0), vec!["127.0.0.1", "::1"]));
        }
    }

    fn unknown_group(server: &str) {
        let (_directory, path) = socket_path();
        let address = format!("unix:{}", path.display());
        let line = format!("error: cannot listen on {address}: there is no group \"no-such-group\"");
        fails(&["--server", server, "--bind", &format!("{address},mode=0660,group=no-such-group")], 1, &line);
        assert!(!path.exists(), "nothing is left there");
        assert_eq!(std::fs::read_dir(path.parent().expect("a folder")).expect("it is read").count(), 0);
    }

    fn long(folder: &str) -> String {
        format!("/{folder}/{}", "x".repeat(8000))
    }

    fn stdout_unread(server: &str) {
        let mut unread = command(&["--server", server, "--bind", "127.0.0.1:0", "--access-log"]);
        let mut child = unread.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it can be started");
        let stdout = child.stdout.take().expect("piped");
        let (_silent, nothing) = channel();
        let program = Program { stderr: lines(child.stderr.take().expect("piped")), stdout: nothing, child };
        let address = program.address();
        for _ in 0..50 {
            assert!(talk(connect(&address), &long("x")).ends_with("\r\n\r\nhello"));
        }
        program.signal("-TERM");
        assert_eq!(program.line(), "adapter: SIGTERM: draining, once more to force");
        let said = rest(&program.stderr);
        assert!(said.len() == 1 && said[0].contains("access log lines are lost"), "{said:?}");
        drop(stdout);
    }

    /// `program --access-log common | sleep 1000`: all are served, none is waited for, and what is lost is counted.
    fn stdout_unread_by_many(server: &str) {
        const REQUESTS: usize = 100_000;
        const TOGETHER: usize = 1000;
        let args = ["--server", server, "--bind", "127.0.0.1:0", "--access-log", "common"];
        let mut unread = command(&args);
        let mut child = unread.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it can be started");
        let stdout = child.stdout.take().expect("piped");
        let (_silent, nothing) = channel();
        let mut program = Program { stderr: lines(child.stderr.take().expect("piped")), stdout: nothing, child };
        let address = program.address();
        let mut stream = connect(&address);
        let batch = "GET / HTTP/1.1\r\nHost: x\r\n\r\n".repeat(TOGETHER);
        let (mut served, mut piece, mut rest) = (0, vec![0; 64 << 10], Vec::new());
        while served < REQUESTS {
            if served % TOGETHER == 0 {
                stream.write_all(batch.as_bytes()).expect("written");
            }
            let count = stream.read(&mut piece).expect("an answer");
            assert!(count > 0, "it has closed the connection after {served} requests");
            rest.extend_from_slice(&piece[..count]);
            let end = rest.windows(5).rposition(|window| window == b"hello").map_or(0, |at| at + 5);
            served += rest[..end].windows(5).filter(|window| window == b"hello").count();
            rest.drain(..end);
        }
        program.signal("-TERM");
        until(&program, "adapter: SIGTERM: draining, once more to force");
        let said = self::rest(&program.stderr);
        let lost = said.iter().find(|line| line.contains("access log lines are lost")).expect("it says so");
        let lost = lost.split_once("lines=").and_then(|(_, lines)| lines.trim().parse::<usize>().ok());
        let status = program.child.wait().expect("it has ended");
        assert_eq!(status.code(), Some(0), "{said:?}");
        // All but what a pipe takes, 64 KiB, and lines are about 70 octets.
        assert!(lost.is_some_and(|lost| (REQUESTS - 2000..=REQUESTS).contains(&lost)), "{said:?}");
        drop(stdout);
    }

    fn stderr_unread(server: &str) {
        let (_directory, path) = socket_path();
        let mut unread = command(&["--server", server, "--bind", &format!("unix:{}", path.display())]);
        let mut child = unread.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it can be started");
        let stderr = child.stderr.take().expect("piped");
        let (_silent, nothing) = channel();
        let program = Program { stdout: lines(child.stdout.take().expect("piped")), stderr: nothing, child };
        let deadline = Instant::now() + DEADLINE;
        // Nothing says that it listens.
        while UnixStream::connect(&path).is_err() {
            assert!(Instant::now() < deadline, "it does not listen");
            thread::yield_now();
        }
        for _ in 0..50 {
            let stream = UnixStream::connect(&path).expect("it listens");
            stream.set_read_timeout(Some(DEADLINE)).expect("a timeout can be set");
            assert!(talk(stream, &long("report")).ends_with("\r\n\r\nhello"));
            // The hook for panics writes to stderr on the thread that panics.
            let stream = UnixStream::connect(&path).expect("it listens");
            stream.set_read_timeout(Some(DEADLINE)).expect("a timeout can be set");
            assert!(talk(stream, &long("panic")).starts_with("HTTP/1.1 500 "));
        }
        program.signal("-TERM");
        assert_eq!(rest(&program.stdout), Vec::<String>::new());
        drop(stderr);
    }

    fn successor(server: &str) {
        let (_directory, path) = socket_path();
        let address = format!("unix:{}", path.display());
        let first = start(command(&["--server", server, "--bind", &address]));
        assert_eq!(first.address(), address);
        std::fs::remove_file(&path).expect("a socket is there");
        let second = start(command(&["--server", server, "--bind", &address]));
        assert_eq!(second.address(), address);
        first.signal("-TERM");
        assert_eq!(first.end().0.code(), Some(0));
        assert!(talk(UnixStream::connect(&path).expect("it listens"), "/").ends_with("\r\n\r\nhello"));
        second.signal("-TERM");
        assert_eq!(second.end().0.code(), Some(0));
        assert!(!path.exists());
    }

    /// The program with `socket` as descriptor 3, the way systemd does it.
    fn activated(server: &str, socket: impl Into<OwnedFd>) -> Program {
        start(activated_command(server, &["--bind", "127.0.0.1:1"], socket))
    }

    pub(crate) fn activated_command(server: &str, args: &[&str], socket: impl Into<OwnedFd>) -> Command {
        let program = command(&[]);
        let mut shell = Command::new("sh");
        // The socket comes as stdin, the one descriptor std passes on without unsafe code.
        shell.args(["-c", "LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" \"$@\" 3<&0 </dev/null"]);
        shell.arg(program.get_program()).args(["--server", server]).args(args).env(PROGRAM, "1");
        shell.stdin(Stdio::from(socket.into()));
        shell
    }

    fn inherited(server: &str) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let expected = listener.local_addr().expect("an address").to_string();
        let program = activated(server, listener);
        assert!(program.line().contains("LISTEN_FDS is set"), "it says that --bind is not used");
        assert_eq!(program.address(), expected);
        assert!(talk(connect(&expected), "/").ends_with("\r\n\r\nhello"));
        program.signal("-TERM");
        assert_eq!(program.end().0.code(), Some(0));

        let (_directory, path) = socket_path();
        let program = activated(server, UnixListener::bind(&path).expect("a socket"));
        assert!(program.line().contains("LISTEN_FDS is set"));
        assert_eq!(program.address(), format!("unix:{}", path.display()));
        assert!(talk(UnixStream::connect(&path).expect("it listens"), "/").ends_with("\r\n\r\nhello"));
        program.signal("-TERM");
        assert_eq!(program.end().0.code(), Some(0));
    }

    /// The program with a listener as descriptor 3 and another as 4, named, that serves where `args` say.
    fn named(server: &str, args: &[&str], listeners: [TcpListener; 2]) -> Program {
        let program = command(&[]);
        let mut shell = Command::new("sh");
        let script =
            "exec 4<&1 1>&2 3<&0 </dev/null; LISTEN_FDS=2 LISTEN_FDNAMES=web:admin LISTEN_PID=$$ exec \"$0\" \"$@\"";
        shell.args(["-c", script]).arg(program.get_program()).args(["--server", server]).args(args).env(PROGRAM, "1");
        let [first, second] = listeners.map(OwnedFd::from);
        let mut child = shell.stdin(first).stdout(second).stderr(Stdio::piped()).spawn().expect("it can be started");
        let (_silent, nothing) = channel();
        Program { stderr: lines(child.stderr.take().expect("piped")), stdout: nothing, child }
    }

    fn descriptors(server: &str) {
        let listener = || TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = |listener: &TcpListener| listener.local_addr().expect("an address").to_string();
        let listeners = [listener(), listener()];
        let [web, admin] = [0, 1].map(|index| address(&listeners[index]));
        let program = named(server, &["--bind", "fd:admin,keepalive=off", "--bind", "fd:3"], listeners);
        assert_eq!([program.address(), program.address()], [admin.clone(), web.clone()]);
        for address in [&admin, &web] {
            assert!(talk(connect(address), "/").ends_with("\r\n\r\nhello"));
        }
        program.signal("-TERM");
        assert_eq!(program.end().0.code(), Some(0));

        let listeners = [listener(), listener()];
        let web = address(&listeners[0]);
        let program = named(server, &["--bind", "fd:web,127.0.0.1:0"], listeners);
        let line = program.line();
        assert!(line.ends_with("inherited, but no --bind names it: descriptor 4 \"admin\""), "{line}");
        assert_eq!(program.address(), web);
        assert!(talk(connect(&program.address()), "/").ends_with("\r\n\r\nhello"), "the address beside it");
        program.signal("-TERM");
        assert_eq!(program.end().0.code(), Some(0));

        let (ended, stderr, _) = named(server, &["--bind", "fd:wbe"], [listener(), listener()]).end();
        let says = "error: cannot listen on fd:wbe: it is not among what was inherited: descriptor 3 \"web\", descriptor 4 \"admin\"";
        assert_eq!((ended.code(), stderr), (Some(1), vec![says.to_owned()]));
        let (ended, stderr, _) = start(command(&["--server", server, "--bind", "fd:0"])).end();
        let says = "error: cannot listen on fd:0: nothing was inherited (LISTEN_FDS is not set for this process)";
        assert_eq!((ended.code(), stderr), (Some(1), vec![says.to_owned()]));
    }

    pub(crate) fn socket_path() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("socket");
        (directory, path)
    }

    fn unix_sockets(server: &str) {
        let (_directory, path) = socket_path();
        let address = format!("unix:{}", path.display());
        for _again in 0..2 {
            let program = start(command(&["--server", server, "--bind", &address]));
            assert_eq!(program.address(), address);
            assert!(talk(UnixStream::connect(&path).expect("it listens"), "/").ends_with("\r\n\r\nhello"));
            program.signal("-TERM");
            assert_eq!(program.end().0.code(), Some(0));
        }
    }

    fn access_log(server: &str) {
        let program = start(command(&["--server", server, "--bind", "127.0.0.1:0", "--access-log", "combined"]));
        let address = program.address();
        for n in 0..3 {
            talk(connect(&address), &format!("/{n}?q"));
        }
        program.signal("-TERM");
        let (ended, stderr, stdout) = program.end();
        assert_eq!(ended.code(), Some(0));
        assert_eq!(stderr.len(), 1, "the events are not on stderr as well: {stderr:?}");
        let requests: Vec<_> =
            stdout.iter().filter_map(|line| line.split_once("] ").map(|(_, request)| request)).collect();
        assert_eq!(requests, [0, 1, 2].map(|n| format!("\"GET /{n}?q HTTP/1.1\" 200 5 \"-\" \"-\"")), "{stdout:?}");
        assert!(stdout.iter().all(|line| line.starts_with("127.0.0.1 - - [")), "{stdout:?}");
    }
}

#[cfg(unix)]
fn main() -> std::process::ExitCode {
    unix::main()
}

#[cfg(not(unix))]
fn main() {}
