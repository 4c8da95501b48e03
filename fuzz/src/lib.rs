//! What the fuzz targets check; see [`checks`], [`gateway`], [`websocket`] and [`differential`].

pub mod checks;
pub mod differential;
pub mod gateway;
pub mod websocket;
