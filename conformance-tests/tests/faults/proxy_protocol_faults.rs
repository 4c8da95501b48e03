//! What a broken server does with the PROXY protocol: a sound one, configured to do it.

use std::net::SocketAddr;
use std::sync::Arc;

use adapter_core::environ::{Connection, Serving};
use adapter_core::{Application, Bind, Environ, ServerConfig, ShutdownTrigger};

use crate::fault::{Base, Fault};
use crate::proxy::replace;

pub(crate) static FAULTS: &[Fault] = &[
    Fault::new(
        "headers_are_http",
        &[
            "proxy_protocol::version_1_is_read",
            "proxy_protocol::version_2_is_read",
            "proxy_protocol::headers_without_addresses",
            "proxy_protocol::tls_at_the_proxy_is_https",
            "proxy_protocol::no_header_is_closed",
            "proxy_protocol::nobody_listed_is_no_start",
            "proxy_protocol::headers_come_in_octets",
            "proxy_protocol::nothing_behind_it_is_lost",
            "proxy_protocol::header_is_in_front_of_http2",
            "proxy_protocol::header_is_in_front_of_tls",
            "proxy_protocol::malformed_lines_are_closed",
            "proxy_protocol::malformed_version_2_is_closed",
            "proxy_protocol::malformed_fields_are_closed",
            "proxy_protocol::unix_peers_announce_too",
        ],
    )
    .on(Base::Hyper)
    .config(|config| {
        let had = config
            .binds
            .iter()
            .map(|bind| if bind.options().tls { bind.place().clone().with_tls() } else { bind.place().clone() });
        config.binds = had.collect();
    }),
    Fault::new("every_listener_has_the_header", &["proxy_protocol::no_header_is_expected_elsewhere"])
        .on(Base::Hyper)
        .config(|config| config.binds = config.binds.drain(..).map(Bind::with_proxy_protocol).collect()),
    Fault::new("strangers_may_announce", &["proxy_protocol::strangers_are_closed"])
        .on(Base::Hyper)
        .config(|config| config.proxy_protocol_from.push([127, 0, 0, 1].into())),
    Fault::new("headers_may_be_late", &["proxy_protocol::late_headers_are_closed"])
        .on(Base::Hyper)
        .config(|config| config.timeouts.header_read = None),
    Fault::new("clients_behind_a_header_are_believed", &["proxy_protocol::clients_behind_it_are_not_believed"])
        .on(Base::Hyper)
        .config(|config| config.trusted_proxies.push([203, 0, 113, 9].into())),
    // One that a client has put behind the proxy's.
    Fault::new("second_headers_are_read", &["proxy_protocol::second_header_is_no_header"])
        .on(Base::Hyper)
        .up(|_, data| replace(data, b"PROXY TCP4 203.0.113.9 192.0.2.1 4711 443\r\nGET", b"GET")),
    // What the header says is forgotten for the proxy's own address.
    Fault::new("headers_are_forgotten", &["proxy_protocol::proxies_behind_it_can_be"]).on(Base::Hyper).call(
        |application, request, environ| {
            let own = environ.socket_peer_addr().unwrap_or(SocketAddr::from(([127, 0, 0, 1], 9)));
            let (server, runtime) = (environ.server().clone(), environ.runtime().clone());
            let serving = Serving::new(server, runtime, ShutdownTrigger::new(), &ServerConfig::default());
            let connection = Connection::new(serving, Some(own), environ.local_addr().clone());
            let environ = Environ::new(Arc::new(connection), environ.received_at());
            Box::pin(async move { application.call(request, environ).await })
        },
    ),
];
