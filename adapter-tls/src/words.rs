//! What rustls says, in words of who reads the log at night. What is not known here keeps rustls' own.

use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};

/// Why a handshake failed, or a session ended.
pub(crate) fn of(error: &Error) -> String {
    match error {
        Error::PeerIncompatible(what) => common(what),
        Error::NoApplicationProtocol => "the client speaks no protocol of this server's (ALPN)".into(),
        Error::AlertReceived(alert) => refusal(*alert),
        Error::InvalidMessage(_) => "what came is no TLS, or damaged".into(),
        Error::DecryptError => "a record can't be decrypted: it is damaged, or not this session's".into(),
        Error::NoCertificatesPresented => "the client has shown no certificate, and one is required".into(),
        Error::InvalidCertificate(why) => format!("the client's certificate is refused: {}", certificate(why)),
        other => other.to_string(),
    }
}

fn common(what: &PeerIncompatible) -> String {
    let thing = match what {
        PeerIncompatible::NoCipherSuitesInCommon => "cipher suite",
        PeerIncompatible::NoKxGroupsInCommon | PeerIncompatible::NamedGroupsExtensionRequired => {
            "group for the key exchange"
        }
        PeerIncompatible::NoSignatureSchemesInCommon => "signature scheme that fits the certificate",
        PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
        | PeerIncompatible::SupportedVersionsExtensionRequired
        | PeerIncompatible::Tls12NotOffered
        | PeerIncompatible::Tls12NotOfferedOrEnabled => "version of TLS",
        other => return format!("the client lacks what this server needs ({other:?})"),
    };
    format!("client and server have no {thing} in common")
}

/// RFC 8446 §6.2
fn refusal(alert: AlertDescription) -> String {
    let why = match alert {
        AlertDescription::UnknownCA => "it does not know the authority of the certificate",
        AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnsupportedCertificate => "it does not accept the certificate",
        AlertDescription::CertificateExpired => "the certificate has expired for it",
        AlertDescription::UserCanceled => "it has given up",
        other => return format!("the client has refused with the alert {other:?}"),
    };
    format!("the client has refused: {why}")
}

fn certificate(why: &CertificateError) -> String {
    match why {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired".into(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "it is not valid yet".into(),
        CertificateError::UnknownIssuer => "no authority that is listed has signed it".into(),
        CertificateError::BadEncoding => "it is damaged".into(),
        other => other.to_string(),
    }
}

/// Why a certificate of this server's can't be used.
pub(crate) fn unusable(error: &webpki::Error) -> String {
    match error {
        webpki::Error::UnsupportedCertVersion => {
            "it is of X.509 version 1; clients need version 3, with their names for it in subjectAltName".into()
        }
        webpki::Error::BadDer => "it is damaged".into(),
        other => format!("it is damaged, or of a kind that is not supported ({other:?})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_said_in_rustls_terms() {
        assert_eq!(
            of(&Error::PeerIncompatible(PeerIncompatible::Tls12NotOfferedOrEnabled)),
            "client and server have no version of TLS in common"
        );
        assert_eq!(
            of(&Error::AlertReceived(AlertDescription::UnknownCA)),
            "the client has refused: it does not know the authority of the certificate"
        );
        assert_eq!(
            of(&Error::InvalidCertificate(CertificateError::UnknownIssuer)),
            "the client's certificate is refused: no authority that is listed has signed it"
        );
    }
}
