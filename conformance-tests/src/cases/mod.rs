//! The cases, one group a file, in the order of `spec/`.

mod body;
mod body_drop;
mod environment;
mod errors;
mod expect;
mod files;
mod framing;
mod headers;
mod host;
mod keep_alive;
mod limits;
mod no_body;
mod request_body;
mod request_framing;
mod response;
mod target;
mod target_forms;
mod timeouts;
mod trailers;

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
    &body::GROUP,
    &body_drop::GROUP,
    &files::GROUP,
    &framing::GROUP,
    &keep_alive::GROUP,
    &trailers::GROUP,
    &errors::GROUP,
    &limits::GROUP,
    &timeouts::GROUP,
    &environment::GROUP,
];
