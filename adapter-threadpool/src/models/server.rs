//! Reports, the lead, permits and the drain.

use std::time::Duration;

use adapter_core::signal::Signal;
use adapter_core::sync::explore;
use adapter_core::sync::thread;
use adapter_core::{Body, Environ, Error, Request, Response, blocking};

use shuttle::rand::{Rng, thread_rng};

use super::World;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: m\r\n\r\n";

/// The second half of a head comes at any time, and so does the drain.
#[test]
fn a_head_in_two_pieces_is_answered() {
    explore(300, || {
        let application = |_: Request, _: Environ| async { Ok::<_, Error>(Response::new(Body::from("x"))) };
        let world = World::start(application, 1);
        let client = world.client();
        client.takes(1 << 16);
        client.sends(&GET[..9]);
        client.sends(&GET[9..]);
        assert_eq!(client.awaits(1), 1, "the request was lost");
        world.drain();
    });
}

/// The application waits for what another thread does; one permit is for two clients, and there is room when it comes.
#[test]
fn who_waits_for_a_permit_a_waker_or_room_goes_on() {
    explore(300, || {
        let gate = Signal::new();
        let opens = gate.clone();
        let application = move |_: Request, _: Environ| {
            let gate = gate.clone();
            async move {
                gate.fired().await;
                Ok::<_, Error>(Response::new(Body::from("x")))
            }
        };
        let world = World::start(application, 1);
        let clients = [world.client(), world.client()];
        for client in &clients {
            client.sends(GET);
        }
        thread::spawn(move || {
            // Until all sleep, or sooner.
            for _ in 0..Rng::gen_range(&mut thread_rng(), 0..200) {
                thread::yield_now();
            }
            opens.fire()
        });
        for client in &clients {
            client.takes(20);
            client.takes(1 << 16);
        }
        for client in &clients {
            assert_eq!(client.awaits(1), 1, "the request was lost");
        }
        world.drain();
    });
}

/// A blocking application waits for another client's request: two permits, and a second thread that comes to it.
#[test]
fn a_call_that_blocks_holds_up_nobody() {
    explore(300, || {
        let gate = Signal::new();
        let application = blocking(move |request, _| {
            match request.uri().path() {
                "/open" => {
                    gate.fire();
                }
                _ => gate.wait(),
            }
            Ok::<_, Error>(Response::new(Body::from("x")))
        });
        let world = World::start(application, 2);
        let clients = [world.client(), world.client()];
        clients[0].sends(GET);
        clients[1].sends(b"GET /open HTTP/1.1\r\nHost: m\r\n\r\n");
        for client in &clients {
            client.takes(1 << 16);
            assert_eq!(client.awaits(1), 1, "the request was lost");
        }
        world.drain();
    });
}

/// \[LIM-09\] Code that holds its thread comes back at any time, or not before its client has an answer: which is one, and is the last.
#[test]
fn a_call_that_blocks_too_long_is_answered_once() {
    explore(300, || {
        let gate = Signal::new();
        let held = gate.clone();
        let application = blocking(move |_, _| {
            held.wait();
            Ok::<_, Error>(Response::new(Body::from("x")))
        });
        let mut config = World::config();
        config.timeouts.handler = Some(Duration::from_millis(10));
        let world = World::start_with(application, 1, &config);
        let client = world.client();
        client.takes(20);
        client.sends(GET);
        // It may wait for the other one's permit.
        let second = world.client();
        second.takes(1 << 16);
        second.sends(GET);
        let comes_back = Rng::gen_ratio(&mut thread_rng(), 1, 2);
        if comes_back {
            let opens = gate.clone();
            thread::spawn(move || opens.fire());
        }
        assert_eq!(client.awaits(1), 1, "nobody answers while the code holds its thread");
        assert_eq!(second.awaits(1), 1, "nobody answers while the code holds the thread that it waits for");
        if !comes_back && Rng::gen_ratio(&mut thread_rng(), 1, 2) {
            // The rest of it, and the end.
            client.takes(1 << 16);
            client.awaits(2);
        }
        gate.fire();
        client.takes(1 << 16);
        world.drain();
        assert_eq!((client.awaits(2), second.awaits(2)), (1, 1), "there is one answer");
    });
}
