//! The cases, one group a file, in the order of `spec/`.

mod body;
mod body_drop;
mod concurrency;
mod disconnect;
mod environment;
mod errors;
mod expect;
mod files;
mod framing;
mod headers;
mod host;
mod informational;
mod keep_alive;
mod lifespan;
mod limits;
mod no_body;
mod request_body;
mod request_framing;
mod response;
mod runtime;
mod shutdown;
mod target;
mod target_forms;
mod timeouts;
mod trailers;
mod upgrade;

use crate::case::Group;

/// All groups.
pub(crate) const GROUPS: &[&Group] = &[
    &target::GROUP,
    &target_forms::GROUP,
    &headers::GROUP,
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
    &framing::GROUP,
    &keep_alive::GROUP,
    &trailers::GROUP,
    &errors::GROUP,
    &limits::GROUP,
    &timeouts::GROUP,
    &concurrency::GROUP,
    &disconnect::GROUP,
    &lifespan::GROUP,
    &shutdown::GROUP,
    &environment::GROUP,
    &runtime::GROUP,
    &upgrade::GROUP,
];
