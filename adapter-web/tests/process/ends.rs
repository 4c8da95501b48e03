//! How it ends: by signals, and whatever the application leaves behind.

use std::net::TcpListener;

use crate::program::*;

/// A drop that panics changes no exit status: not of a good end, of wrong use, or of a start that fails.
pub(crate) fn fragile(server: &str) {
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
pub(crate) fn endless_tasks(server: &str) {
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
        let says = if forced {
            "the shutdown was forced; spawned tasks are dropped, blocking code is left behind"
        } else {
            "deadline has passed"
        };
        let warnings: Vec<_> = stderr.iter().filter(|line| line.contains("WARN")).collect();
        assert_eq!(warnings.len(), 1, "{stderr:?}");
        assert!(warnings[0].contains(says) && warnings[0].contains("tasks=1"), "{stderr:?}");
    }
}

/// As a task is: whether it has a thread of its own, or that of its connection.
pub(crate) fn blocking(server: &str) {
    let program = start(command(&["--server", server, "--bind", "127.0.0.1:0", "--timeout-graceful-shutdown", "1h"]));
    let address = program.address();
    let _in_flight = ask(&address, "/blocks");
    assert!(program.line().starts_with("called /blocks"));
    program.signal("-TERM");
    assert_eq!(program.line(), "adapter: SIGTERM: draining, once more to force");
    program.signal("-INT");
    let (_, stderr, _) = program.end();
    // Its connection may be closed by then.
    let said: Vec<_> = stderr.iter().filter_map(|line| Some(line.split_once("Z ")?.1.trim_start())).collect();
    let forced = "WARN adapter: the shutdown was forced; spawned tasks are dropped, blocking code is left behind open=";
    assert!(said.len() == 2 && said[0].starts_with(forced) && said[0].ends_with(" tasks=1"), "{stderr:?}");
    assert_eq!(said[1], "WARN adapter: blocking application code still runs after the shutdown");
}

pub(crate) fn sigterm_drains(server: &str) {
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

pub(crate) fn second_signal(server: &str) {
    let program = start(command(&["--server", server, "--bind", "127.0.0.1:0", "--timeout-graceful-shutdown", "1h"]));
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

pub(crate) fn interrupt_twice(server: &str) {
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
