//! What the fuzz targets check; see [`checks`] and [`differential`].

pub mod checks;
pub mod differential;
