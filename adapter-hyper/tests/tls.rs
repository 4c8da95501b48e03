//! The servers of this crate under (a toy in place of) TLS.

#[path = "../../adapter-core/tests/toy_tls/cases.rs"]
mod cases;
#[path = "../../adapter-core/tests/toy_tls/mod.rs"]
mod toy_tls;

use adapter_hyper::{ActixServer, HyperServer};

cases::cases!(hyper, HyperServer::new());
cases::cases!(actix, ActixServer::new());
