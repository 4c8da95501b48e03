//! Listeners that block: TCP sockets with an accepting thread each, for servers of threads. \[ERR-06\], \[LIM-07\],
//! \[SHU-01\]

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use adapter_core::environ::Serving;
use adapter_core::server::{Bind, Guard, Roster, ServeError, Tracker};
use futures_lite::future::{block_on, or};

use super::{AcceptError, BACKLOG, ListenSocket, bind_all, classify, complain};

/// Binds every address, in order, to a listener that blocks.
///
/// # Errors
/// As [`bind_all`], and [`ServeError::Config`] for what is not TCP, or is to have TLS or the PROXY protocol.
pub fn bind_tcp(binds: &[Bind]) -> Result<Vec<TcpListener>, ServeError> {
    let only_tcp = || ServeError::config("binds", "this server listens on TCP addresses only");
    // They would be served in the clear.
    if let Some(bind) = binds.iter().find(|bind| bind.options().tls) {
        return Err(ServeError::config("tls", format!("this server has no TLS, which {bind} is to have")));
    }
    // What a proxy says of them would be bad HTTP.
    if let Some(bind) = binds.iter().find(|bind| bind.options().proxy) {
        return Err(ServeError::config("binds", format!("this server has no PROXY protocol, which {bind} is to have")));
    }
    if binds.iter().any(|bind| matches!(bind.place(), Bind::Unix(_))) {
        return Err(only_tcp());
    }
    let blocking = |listener: super::Listener| match listener.into_parts() {
        (ListenSocket::Tcp(listener), ..) => listener.set_nonblocking(false).map(|()| listener).map_err(Into::into),
        #[cfg(unix)]
        _ => Err(only_tcp()),
    };
    bind_all(binds, false)?.into_iter().map(blocking).collect()
}

/// Accepts on a thread of its own until the shutdown begins, then what the operating system has completed by then, and closes
/// the listener. At most `limit` connections are served at once; one more is accepted, for which one of `roster` that is idle makes room (\[LIM-07\]), the next ones wait in
/// the kernel's queue. `serve` gets each connection, and a guard to drop when the connection is closed; it must not block.
///
/// # Errors
/// No thread can be had, or the listener is none.
pub fn accept_on_thread(
    listener: TcpListener,
    serving: &Arc<Serving>,
    tracker: &Tracker,
    roster: Arc<Roster>,
    limit: usize,
    mut serve: impl FnMut(TcpStream, SocketAddr, Guard) + Send + 'static,
) -> io::Result<()> {
    let addr = listener.local_addr()?;
    let (serving, tracker, listening) = (serving.clone(), tracker.clone(), tracker.listening());
    let draining = serving.shutdown.draining().clone();
    // Who waits in `accept` waits for a client. At the shutdown it gets one.
    let fired = draining.fired();
    let client = async move {
        fired.await;
        let _ = TcpStream::connect_timeout(&addr, Duration::from_secs(1));
    };
    serving.runtime.drive(client);
    thread::Builder::new().name("adapter-accept".into()).spawn(move || {
        while !draining.is_fired() {
            match listener.accept() {
                Ok((socket, peer)) => {
                    let place = async { Some(roster.place(&tracker, limit, &serving.runtime).await) };
                    let stop = async {
                        draining.fired().await;
                        None
                    };
                    let place = block_on(or(place, stop)).unwrap_or_else(|| tracker.add());
                    serve(socket, peer, place);
                }
                Err(error) => {
                    if let AcceptError::Backoff(pause) = classify(&error) {
                        complain(&error, &addr);
                        serving.accept_failed(&error);
                        // A connection that ends gives its descriptor back.
                        let fewer = tracker.below(tracker.open());
                        let _ = block_on(serving.runtime.timeout(pause, fewer));
                    }
                }
            }
        }
        // [SHU-13] closing a listener resets them
        if listener.set_nonblocking(true).is_ok() {
            for (socket, peer) in std::iter::from_fn(|| listener.accept().ok()).take(BACKLOG as usize) {
                if tracker.open() < limit && socket.set_nonblocking(false).is_ok() {
                    serve(socket, peer, tracker.add());
                }
            }
        }
        drop(listener);
        drop(listening);
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use adapter_core::server::Threads;
    use adapter_core::{Runtime, ServerConfig, ServerInfo, ShutdownTrigger};

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(10);

    #[test]
    fn only_tcp_is_bound() {
        let error = bind_tcp(&["unix:/nowhere/at/all".parse().unwrap()]).unwrap_err();
        assert!(error.to_string().starts_with("binds:"), "{error}");
        let error = bind_tcp(&["127.0.0.1:0,tls".parse().unwrap()]).unwrap_err();
        assert!(error.to_string().starts_with("tls:"), "{error}");
        let error = bind_tcp(&["127.0.0.1:0,proxy".parse().unwrap()]).unwrap_err();
        assert!(error.to_string().starts_with("binds: this server has no PROXY protocol"), "{error}");
    }

    #[test]
    fn accepts_up_to_the_limit_and_until_the_shutdown() {
        let listener = bind_tcp(&["127.0.0.1:0".parse().unwrap()]).unwrap().remove(0);
        let addr = listener.local_addr().unwrap();
        let (config, tracker, trigger) = (ServerConfig::default(), Tracker::default(), ShutdownTrigger::new());
        let runtime = Runtime::new(Threads::new(&config));
        let serving = Serving::new(ServerInfo::new("test", "1"), runtime.clone(), trigger.clone(), &config);
        let (sender, accepted) = mpsc::channel();
        accept_on_thread(listener, &serving, &tracker, Arc::default(), 1, move |socket, _, guard| {
            sender.send((socket, guard)).unwrap();
        })
        .unwrap();
        let _clients = [TcpStream::connect(addr).unwrap(), TcpStream::connect(addr).unwrap()];
        let first = accepted.recv_timeout(DEADLINE).unwrap();
        assert!(accepted.try_recv().is_err(), "[LIM-07]");
        drop(first);
        let second = accepted.recv_timeout(DEADLINE).unwrap();
        trigger.trigger();
        block_on(runtime.timeout(DEADLINE, tracker.closed())).expect("[SHU-01] the listener is closed");
        TcpListener::bind(addr).unwrap();
        drop(second);
    }
}
