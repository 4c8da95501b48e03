//! The server under (a toy in place of) TLS.

#[path = "../../adapter-core/tests/toy_tls/cases.rs"]
mod cases;
#[path = "../../adapter-core/tests/toy_tls/mod.rs"]
mod toy_tls;

use adapter_smol::SmolServer;

cases::cases!(smol, SmolServer::new());
