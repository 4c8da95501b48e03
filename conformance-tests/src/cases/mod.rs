//! The cases, one group a file, in the order of `spec/`.

mod body;
mod body_drop;
mod concurrency;
mod departure;
mod disconnect;
mod environment;
mod errors;
mod expect;
mod files;
mod forwarded;
mod framing;
mod headers;
mod host;
mod http2;
mod http2_floods;
mod http2_frames;
mod http2_hpack;
mod http2_interim;
mod http2_limits;
mod http2_malformed;
mod http2_probe;
mod http2_states;
mod http2_streams;
mod http2_timeouts;
mod informational;
mod inherited;
mod keep_alive;
mod lifespan;
mod limits;
mod no_body;
mod observers;
mod process;
mod proxy_protocol;
mod request_body;
mod request_framing;
mod response;
mod runtime;
mod shutdown;
mod target;
mod target_forms;
mod timeouts;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "tls")]
mod tls_certificates;
#[cfg(feature = "tls")]
mod tls_ends;
mod trailers;
mod unlimited;
mod unwrapped;
mod upgrade;
mod websocket;
mod websocket_frames;
mod websocket_life;

use crate::case::Group;

/// Why cases about Unix-domain sockets do not run over TLS.
const UNIX: &str = "its client of a Unix-domain socket speaks no TLS";

/// All groups.
pub(crate) const GROUPS: &[&Group] = &[
    &target::GROUP,
    &target_forms::GROUP,
    &headers::GROUP,
    &forwarded::GROUP,
    &host::GROUP,
    &request_body::GROUP,
    &request_framing::GROUP,
    &expect::GROUP,
    &response::GROUP,
    &no_body::GROUP,
    &informational::GROUP,
    &body::GROUP,
    &body_drop::GROUP,
    &files::GROUP,
    &unwrapped::GROUP,
    &framing::GROUP,
    &keep_alive::GROUP,
    &trailers::GROUP,
    &errors::GROUP,
    &process::GROUP,
    &limits::GROUP,
    &unlimited::GROUP,
    &timeouts::GROUP,
    &concurrency::GROUP,
    &disconnect::GROUP,
    &departure::GROUP,
    &lifespan::GROUP,
    &inherited::GROUP,
    &shutdown::GROUP,
    &environment::GROUP,
    &runtime::GROUP,
    &upgrade::GROUP,
    &websocket::GROUP,
    &websocket_frames::GROUP,
    &websocket_life::GROUP,
    &http2::GROUP,
    &http2_frames::GROUP,
    &http2_states::GROUP,
    &http2_malformed::GROUP,
    &http2_hpack::GROUP,
    &http2_interim::GROUP,
    &http2_limits::GROUP,
    &http2_floods::GROUP,
    &http2_streams::GROUP,
    &http2_timeouts::GROUP,
    #[cfg(feature = "tls")]
    &tls::GROUP,
    #[cfg(feature = "tls")]
    &tls_ends::GROUP,
    #[cfg(feature = "tls")]
    &tls_certificates::GROUP,
    &proxy_protocol::GROUP,
    &observers::GROUP,
];
