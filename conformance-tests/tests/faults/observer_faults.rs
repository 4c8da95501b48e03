//! What a broken server tells its observers: a sound one, with somebody in between who gets it wrong.

use std::fmt::Display;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use adapter_core::ServerConfig;
use adapter_core::observe::{
    ConnectionEnd, ConnectionInfo, Observer, RequestEnd, RequestEnded, RequestStarted, TimeLimit,
};
use adapter_core::refused::Refused;
use adapter_core::tls::TlsInfo;

use crate::fault::{Base, Fault};

pub(crate) static FAULTS: &[Fault] = &[
    Fault::new(
        "observers_are_told_nothing",
        &[
            "observers::connections_are_told_once",
            "observers::ends_by_time_are_told",
            "observers::requests_are_told_once",
            "observers::durations_are_told",
            "observers::durations_of_streams_are_told",
            "observers::response_ends_with_its_last_octet",
            "observers::broken_requests_are_told",
            "observers::refusals_are_told",
            "observers::refused_streams_are_told",
            "observers::upgrades_are_told",
            "observers::websockets_are_told",
            "observers::blocking_work_is_told",
            "observers::time_limits_are_told",
            "observers::drain_is_told",
            "observers::forced_end_is_told",
            "observers::streams_are_told",
            "tls::handshakes_are_told",
        ],
    )
    .on(Base::Hyper)
    .config(|config| drop(config.take_observers())),
    wrong("closes_are_told_twice", &["observers::connections_are_told_once"], |config| {
        between(config, |wrong| wrong.closed_twice = true);
    }),
    wrong(
        "clients_close_everything",
        &["observers::connections_are_told_once", "observers::ends_by_time_are_told", "observers::forced_end_is_told"],
        |config| between(config, |wrong| wrong.by_client = true),
    ),
    wrong(
        "every_request_is_complete",
        &[
            "observers::response_ends_with_its_last_octet",
            "observers::broken_requests_are_told",
            "observers::forced_end_is_told",
            "observers::streams_are_told",
        ],
        |config| between(config, |wrong| wrong.complete = true),
    ),
    wrong("octets_are_not_counted", &["observers::requests_are_told_once"], |config| {
        between(config, |wrong| wrong.no_octets = true);
    }),
    wrong(
        "heads_take_no_time",
        &["observers::durations_are_told", "observers::durations_of_streams_are_told"],
        |config| {
            between(config, |wrong| wrong.instant_heads = true);
        },
    ),
    wrong(
        "requests_end_with_their_heads",
        &["observers::durations_are_told", "observers::durations_of_streams_are_told"],
        |config| {
            between(config, |wrong| wrong.instant_bodies = true);
        },
    ),
    wrong("refusals_are_told_twice", &["observers::refusals_are_told"], |config| {
        between(config, |wrong| wrong.refused_twice = true);
    }),
    wrong("time_limits_are_kept_secret", &["observers::time_limits_are_told"], |config| {
        between(config, |wrong| wrong.timeless = true);
    }),
    wrong("drains_never_end", &["observers::drain_is_told", "observers::forced_end_is_told"], |config| {
        between(config, |wrong| wrong.endless = true);
    }),
    wrong("upgrades_never_end", &["observers::upgrades_are_told", "observers::websockets_are_told"], |config| {
        between(config, |wrong| wrong.endless_upgrades = true);
    }),
    wrong("blocking_work_never_begins", &["observers::blocking_work_is_told"], |config| {
        between(config, |wrong| wrong.no_begin = true);
    }),
];

const fn wrong(name: &'static str, kills: &'static [&'static str], config: fn(&mut ServerConfig)) -> Fault {
    Fault::new(name, kills).on(Base::Hyper).config(config)
}

/// Who gets it wrong.
#[derive(Default)]
struct Wrong {
    told: Vec<Arc<dyn Observer>>,
    closed_twice: bool,
    by_client: bool,
    complete: bool,
    no_octets: bool,
    instant_heads: bool,
    instant_bodies: bool,
    refused_twice: bool,
    timeless: bool,
    endless: bool,
    endless_upgrades: bool,
    no_begin: bool,
}

fn between(config: &mut ServerConfig, how: fn(&mut Wrong)) {
    let mut wrong = Wrong { told: config.take_observers(), ..Wrong::default() };
    how(&mut wrong);
    *config = config.clone().observe(Arc::new(wrong));
}

impl Wrong {
    fn each(&self, told: impl Fn(&dyn Observer)) {
        self.told.iter().for_each(|one| told(&**one));
    }
}

impl Observer for Wrong {
    fn connection_opened(&self, connection: ConnectionInfo) {
        self.each(|one| one.connection_opened(connection));
    }

    fn connection_closed(&self, connection: ConnectionInfo, why: ConnectionEnd) {
        let why = if self.by_client { ConnectionEnd::Client } else { why };
        for _ in 0..if self.closed_twice { 2 } else { 1 } {
            self.each(|one| one.connection_closed(connection, why));
        }
    }

    fn accept_failed(&self, error: &io::Error) {
        self.each(|one| one.accept_failed(error));
    }

    fn handshake_done(&self, connection: ConnectionInfo, tls: &TlsInfo) {
        self.each(|one| one.handshake_done(connection, tls));
    }

    fn handshake_failed(&self, connection: ConnectionInfo, why: &dyn Display) {
        self.each(|one| one.handshake_failed(connection, why));
    }

    fn request_started(&self, request: &RequestStarted<'_>) {
        self.each(|one| one.request_started(request));
    }

    fn request_ended(&self, request: &RequestEnded<'_>) {
        let mut request = *request;
        if self.complete {
            request.how = RequestEnd::Complete;
        }
        if self.no_octets {
            (request.received, request.sent) = (0, 0);
        }
        if self.instant_heads {
            request.to_first = request.to_first.map(|_| Duration::ZERO);
        }
        if self.instant_bodies {
            request.to_last = request.to_first.unwrap_or_default();
        }
        self.each(|one| one.request_ended(&request));
    }

    fn request_refused(&self, refused: &Refused<'_>) {
        self.each(|one| one.request_refused(refused));
        if self.refused_twice {
            self.each(|one| one.request_refused(refused));
        }
    }

    fn upgraded(&self) {
        self.each(Observer::upgraded);
    }

    fn upgrade_ended(&self) {
        if !self.endless_upgrades {
            self.each(Observer::upgrade_ended);
        }
    }

    fn websocket_opened(&self) {
        self.each(Observer::websocket_opened);
    }

    fn websocket_closed(&self, code: Option<u16>) {
        self.each(|one| one.websocket_closed(code));
    }

    fn blocking_queued(&self) {
        self.each(Observer::blocking_queued);
    }

    fn blocking_started(&self, waited: Duration) {
        if !self.no_begin {
            self.each(|one| one.blocking_started(waited));
        }
    }

    fn blocking_ended(&self, run: Duration) {
        self.each(|one| one.blocking_ended(run));
    }

    fn blocking_dropped(&self) {
        self.each(Observer::blocking_dropped);
    }

    fn timed_out(&self, limit: TimeLimit) {
        if !self.timeless {
            self.each(|one| one.timed_out(limit));
        }
    }

    fn drain_started(&self) {
        self.each(Observer::drain_started);
    }

    fn drain_ended(&self, in_time: bool) {
        if !self.endless {
            self.each(|one| one.drain_ended(in_time));
        }
    }
}
