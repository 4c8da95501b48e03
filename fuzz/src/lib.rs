//! What the fuzz targets check; see [`checks`], [`gateway`] and [`differential`].

pub mod checks;
pub mod differential;
pub mod gateway;
