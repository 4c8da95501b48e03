//! wip
#[allow(unreachable_pub, dead_code)]
mod wire;
