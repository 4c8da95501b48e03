//! The cases, one group a file, in the order of `spec/`.

mod body;
mod body_drop;
mod expect;
mod files;
mod headers;
mod host;
mod no_body;
mod request_body;
mod request_framing;
mod response;
mod target;
mod target_forms;

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
];
