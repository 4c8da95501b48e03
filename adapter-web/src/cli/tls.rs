//! What the flags `--tls-…` say, and where they contradict each other.

use adapter_core::ServeError;
use adapter_core::tls::Tls;

use super::args::Args;

/// TLS as the flags describe it; files are read.
#[derive(Debug)]
pub(super) struct FromFlags {
    pub(super) tls: Tls,
    /// The fingerprint of a certificate that was made for this run.
    pub(super) fingerprint: Option<String>,
}

/// For whom a certificate of `--tls-self-signed` is.
#[cfg(feature = "tls")]
const OWN_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// `None` where no flag says anything of TLS.
///
/// # Errors
/// Flags that need or exclude each other, and files that can't be used.
pub(super) fn from_flags(args: &Args) -> Result<Option<FromFlags>, ServeError> {
    let (certs, keys) = (args.tls_cert.len(), args.tls_key.len());
    let refinements = [
        ("tls_client_ca", args.tls_client_ca.is_some()),
        ("tls_client_auth", args.tls_client_auth.is_some()),
        ("tls_min_version", args.tls_min_version.is_some()),
    ];
    let refinement = refinements.into_iter().find_map(|(setting, is_given)| is_given.then_some(setting));
    if !cfg!(feature = "tls") {
        let flags = [("tls_cert", certs > 0), ("tls_key", keys > 0), ("tls_self_signed", args.tls_self_signed)];
        let given = flags.into_iter().find_map(|(setting, is_given)| is_given.then_some(setting)).or(refinement);
        return match given {
            Some(setting) => Err(ServeError::config(setting, "this build has no TLS (feature tls)")),
            None => Ok(None),
        };
    }
    if certs != keys {
        let problem =
            format!("there must be as many as --tls-cert, a key for each certificate (there are {keys} for {certs})");
        return Err(ServeError::config("tls_key", problem));
    }
    match (args.tls_self_signed, certs) {
        (true, 1..) => Err(ServeError::config("tls_self_signed", "can't be used with --tls-cert")),
        (false, 0) => match refinement {
            Some(setting) => Err(ServeError::config(setting, "needs --tls-cert and --tls-key, or --tls-self-signed")),
            None => Ok(None),
        },
        (true, 0) | (false, 1..) => load(args).map(Some),
    }
}

#[cfg(feature = "tls")]
fn load(args: &Args) -> Result<FromFlags, ServeError> {
    use adapter_tls::{ClientAuth, LoadError, TlsConfig};

    let problem = |error: LoadError| ServeError::config("tls", error.to_string());
    let mut pairs = args.tls_cert.iter().zip(&args.tls_key);
    let mut config = match pairs.next() {
        Some((cert, key)) => TlsConfig::files(cert, key),
        None => TlsConfig::self_signed(OWN_NAMES).map_err(problem)?,
    };
    for (cert, key) in pairs {
        config = config.and_files(cert, key);
    }
    // Whoever names authorities wants them to be asked.
    let auth = match &args.tls_client_auth {
        Some(auth) => parsed("tls_client_auth", auth)?,
        None if args.tls_client_ca.is_some() => ClientAuth::Required,
        None => ClientAuth::Off,
    };
    match &args.tls_client_ca {
        Some(ca) => config = config.client_ca(ca, auth),
        None if auth != ClientAuth::Off => return Err(ServeError::config("tls_client_auth", "needs --tls-client-ca")),
        None => {}
    }
    if let Some(version) = &args.tls_min_version {
        config = config.min_version(parsed("tls_min_version", version)?);
    }
    let fingerprint = config.fingerprint().map(|text| format!("for {} (SHA-256 {text})", OWN_NAMES.join(", ")));
    Ok(FromFlags { tls: config.load().map_err(problem)?, fingerprint })
}

#[cfg(feature = "tls")]
fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(setting: &str, text: &str) -> Result<T, ServeError> {
    text.parse().map_err(|error: T::Err| ServeError::config(setting, error.to_string()))
}

#[cfg(not(feature = "tls"))]
fn load(_args: &Args) -> Result<FromFlags, ServeError> {
    Err(ServeError::config("tls", "this build has no TLS (feature tls)"))
}
