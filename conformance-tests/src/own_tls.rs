//! TLS for the servers under test by adapter-tls. Feature `adapter-tls`: the rest of the suite does without.

use adapter_core::tls::Tls;
use adapter_tls::{ClientAuth, MinVersion, TlsConfig};

use crate::secure::Terms;

/// For [`secure::provide`](crate::secure::provide).
///
/// # Errors
/// A file does not hold.
pub fn make(terms: &Terms) -> Result<Tls, String> {
    let mut identities = terms.identities.iter();
    let (cert, key) = identities.next().ok_or("there are no certificates")?;
    let mut config = identities.fold(TlsConfig::files(cert, key), |config, (cert, key)| config.and_files(cert, key));
    if let Some(ca) = &terms.client_ca {
        let auth = if terms.client_required { ClientAuth::Required } else { ClientAuth::Optional };
        config = config.client_ca(ca, auth);
    }
    if terms.only_tls13 {
        config = config.min_version(MinVersion::Tls13);
    }
    config.load().map_err(|error| error.to_string())
}
