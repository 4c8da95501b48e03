//! What the fuzz targets check; see [`checks`], [`fields`], [`values`], [`gateway`], [`websocket`] and [`differential`].

pub mod checks;
pub mod differential;
pub mod fields;
pub mod gateway;
pub mod values;
pub mod websocket;
