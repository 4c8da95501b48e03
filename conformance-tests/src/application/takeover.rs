//! Steps that take the connection over, as a WebSocket (`session`) or as a stream of octets (`stream`).
//!
//! `websocket WORDS` accepts a handshake and ends the script; `upgrade WORDS` answers 101 and goes on with it. Where
//! that is an error, `websocket?` and `upgrade?` make it the handler's, the others record it (`websocket-error KIND`,
//! `upgrade-error KIND`) and go on. `handshake` records only whether the request is one.
//!
//! Options of a WebSocket, before the actions of its session: `blocking`, `future`, `protocols:A,B`, `protocol:A`,
//! `header:NAME:VALUE`, `max-message:N`, `ping:MS`, `close-timeout:MS`. Of a stream: `blocking`.

use std::time::Duration;

use adapter_core::upgrade::UpgradeError;
use adapter_core::websocket::{HandshakeError, Upgrade};
use adapter_core::{Environ, Error, Response};
use futures_lite::future::block_on;
use http::{HeaderName, HeaderValue, Request, StatusCode, header};

use super::draft::Draft;
use super::records::Log;
use super::script::Step;
use super::session::{self, session};
use super::stream::{self, talk};
use crate::text;

/// What a step of this module did.
pub(super) enum Taken {
    /// It was another one's.
    No,
    /// The script goes on.
    GoOn,
    /// It ends with this response.
    Answer(Response),
}

/// Does `step` if it is one of these.
pub(super) fn step<B>(
    step: &Step,
    log: &Log,
    request: &Request<B>,
    environ: &Environ,
    draft: &mut Draft,
) -> Result<Taken, Error> {
    match step.name.as_str() {
        "handshake" => match Upgrade::from_request(request, environ) {
            Ok(upgrade) => {
                let offered: Vec<&str> = upgrade.offered_protocols().collect();
                log.record(format!("handshake {}", offered.join(",")));
            }
            Err(error) => log.record(format!("websocket-error {}", handshake_kind(&error))),
        },
        name @ ("websocket" | "websocket?") => match accept(step, log, request, environ) {
            Ok(response) => return Ok(Taken::Answer(response)),
            Err(error) => {
                log.record(format!("websocket-error {}", handshake_kind(&error)));
                if name == "websocket?" {
                    return Err(error.into());
                }
            }
        },
        name @ ("upgrade" | "upgrade?") => match upgrade(step, log, environ) {
            Ok(()) => draft.switch(),
            Err(error) => {
                log.record(format!("upgrade-error {}", upgrade_kind(error)));
                if name == "upgrade?" {
                    return Err(error.into());
                }
            }
        },
        _ => return Ok(Taken::No),
    }
    Ok(Taken::GoOn)
}

fn handshake_kind(error: &HandshakeError) -> &'static str {
    match error {
        HandshakeError::NotWebSocket => "not-websocket",
        HandshakeError::Malformed(_) => "malformed",
        HandshakeError::WrongVersion => "wrong-version",
        HandshakeError::Unsupported => "unsupported",
        HandshakeError::Taken => "taken",
        HandshakeError::Unsendable(_) => "unsendable",
        _ => "other",
    }
}

fn upgrade_kind(error: UpgradeError) -> &'static str {
    match error {
        UpgradeError::Unsupported => "unsupported",
        UpgradeError::NotRequested => "not-requested",
        UpgradeError::Taken => "taken",
        UpgradeError::Refused => "refused",
        UpgradeError::Disconnected => "disconnected",
        _ => "other",
    }
}

/// The two sides of `a:b`.
pub(super) fn split(word: &str) -> (&str, &str) {
    word.split_once(':').unwrap_or((word, ""))
}

fn accept<B>(step: &Step, log: &Log, request: &Request<B>, environ: &Environ) -> Result<Response, HandshakeError> {
    let mut upgrade = Upgrade::from_request(request, environ)?;
    upgrade = upgrade.header(HeaderName::from_static(super::MARK), HeaderValue::from_static("1"));
    let (mut blocking, mut future) = (false, false);
    let mut actions = Vec::new();
    for word in step.rest(0) {
        let (name, value) = split(word);
        let number = || value.parse::<u64>().unwrap_or(0);
        upgrade = match name {
            "protocols" => upgrade.protocols(value.split(',')),
            "protocol" => upgrade.protocol(value),
            "header" => {
                let (name, value) = split(value);
                let name = HeaderName::from_bytes(name.as_bytes()).ok();
                let (Some(name), Ok(value)) = (name, HeaderValue::from_bytes(&text::decode(value))) else {
                    return Err(HandshakeError::Unsendable("conformance: no field".into()));
                };
                upgrade.header(name, value)
            }
            "max-message" => upgrade.max_message_bytes(number() as usize),
            "ping" => upgrade.ping_interval(Duration::from_millis(number())),
            "close-timeout" => upgrade.close_timeout(Duration::from_millis(number())),
            _ => {
                blocking |= name == "blocking";
                future |= name == "future";
                if !matches!(name, "blocking" | "future") {
                    actions.push(word.clone());
                }
                upgrade
            }
        };
    }
    let log = log.clone();
    if blocking {
        return upgrade.blocking_accept(move |socket| block_on(session(session::Blocking(socket), log, actions)));
    }
    if !future {
        return upgrade.accept(move |socket| session(socket, log, actions));
    }
    let (response, accepted) = upgrade.accept_future()?;
    let task = async move {
        match accepted.await {
            Ok(socket) => session(socket, log, actions).await,
            Err(error) => Err(error.into()),
        }
    };
    environ.runtime().spawn(task).detach();
    Ok(response)
}

fn upgrade(step: &Step, log: &Log, environ: &Environ) -> Result<(), UpgradeError> {
    let on_upgrade = environ.upgrade()?;
    let (log, mut actions) = (log.clone(), step.rest(0).to_vec());
    let blocking = actions.first().is_some_and(|first| first == "blocking");
    if !blocking {
        let task = async move {
            match on_upgrade.await {
                Ok(stream) => drop(talk(stream, &log, actions).await),
                Err(error) => log.record(format!("upgrade-error {}", upgrade_kind(error))),
            }
        };
        environ.runtime().spawn(task).detach();
        return Ok(());
    }
    actions.remove(0);
    let job = move || match on_upgrade.wait() {
        Ok(stream) => drop(block_on(talk(stream::Std(stream.into_blocking()), &log, actions))),
        Err(error) => log.record(format!("upgrade-error {}", upgrade_kind(error))),
    };
    drop(environ.runtime().run_blocking(job));
    Ok(())
}

impl Draft {
    /// Makes the response the 101 of an upgrade.
    fn switch(&mut self) {
        let response = self.response();
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("conformance"));
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
}
