//! What a broken server does under TLS: most of it by a session, or by who makes it, that does one thing wrong.

use std::io::{IoSlice, Read, Write};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use adapter_core::tls::{Acceptor, Session, Tls, TlsError, TlsInfo};
use adapter_core::{Application, Body, Bytes, Error, ServerConfig};
use conformance_tests::own_tls;
use conformance_tests::secure::Terms;
use http_body::Frame;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::fault::{Base, Fault};

/// The identity that the suite's own servers have.
static IDENTITY: OnceLock<(PathBuf, PathBuf)> = OnceLock::new();

/// TLS for the servers of this suite, for `secure::provide`.
pub(crate) fn provide(terms: &Terms) -> Result<Tls, String> {
    if let [(cert, key)] = &terms.identities[..]
        && cert.ends_with("suite.pem")
    {
        let _ = IDENTITY.set((cert.clone(), key.clone()));
    }
    own_tls::make(terms)
}

/// The terms of the suite's own servers, whatever the case has asked for.
fn usual() -> Terms {
    Terms { identities: IDENTITY.get().cloned().into_iter().collect(), ..Terms::default() }
}

/// A session with something wrong. What it does not say is as it should be.
trait Wrong: Send + Sync + 'static {
    const HTTP2: bool = true;

    fn receive(session: &mut dyn Session, ciphertext: &[u8]) -> Result<usize, TlsError> {
        session.receive(ciphertext)
    }

    fn output(session: &mut dyn Session, ciphertext: &mut Vec<u8>, _failed: bool) {
        session.output(ciphertext);
    }

    fn write(session: &mut dyn Session, parts: &[IoSlice<'_>], ciphertext: &mut Vec<u8>) -> usize {
        session.write(parts, ciphertext)
    }

    fn close(session: &mut dyn Session, ciphertext: &mut Vec<u8>) {
        session.close(ciphertext);
    }

    fn has_ended(session: &dyn Session) -> bool {
        session.has_ended()
    }

    fn info(session: &dyn Session) -> TlsInfo {
        session.info()
    }
}

#[derive(Debug)]
struct Making<W>(Tls, std::marker::PhantomData<W>);

impl<W: Wrong + std::fmt::Debug> Acceptor for Making<W> {
    fn accept(&self, http2: bool) -> Box<dyn Session> {
        let session = self.0.accept(http2 && W::HTTP2);
        Box::new(Faulty::<W> { session, failed: false, wrong: std::marker::PhantomData })
    }

    fn reload(&self) -> Result<(), Error> {
        self.0.reload()
    }
}

struct Faulty<W> {
    session: Box<dyn Session>,
    failed: bool,
    wrong: std::marker::PhantomData<W>,
}

impl<W: Wrong> Session for Faulty<W> {
    fn receive(&mut self, ciphertext: &[u8]) -> Result<usize, TlsError> {
        let received = W::receive(&mut *self.session, ciphertext);
        self.failed |= received.is_err();
        received
    }

    fn read(&mut self, buffer: &mut [u8]) -> usize {
        self.session.read(buffer)
    }

    fn has_plaintext(&self) -> bool {
        self.session.has_plaintext()
    }

    fn write(&mut self, parts: &[IoSlice<'_>], ciphertext: &mut Vec<u8>) -> usize {
        W::write(&mut *self.session, parts, ciphertext)
    }

    fn output(&mut self, ciphertext: &mut Vec<u8>) {
        W::output(&mut *self.session, ciphertext, self.failed);
    }

    fn is_handshaking(&self) -> bool {
        self.session.is_handshaking()
    }

    fn close(&mut self, ciphertext: &mut Vec<u8>) {
        W::close(&mut *self.session, ciphertext);
    }

    fn has_ended(&self) -> bool {
        W::has_ended(&*self.session)
    }

    fn info(&self) -> TlsInfo {
        W::info(&*self.session)
    }
}

fn wrong<W: Wrong + std::fmt::Debug>(config: &mut ServerConfig) {
    config.tls = config.tls.take().map(|tls| Tls::new(Making::<W>(tls, std::marker::PhantomData)));
}

/// Names the wrongs, and what each does.
macro_rules! wrongs {
    ($($(#[$about:meta])* $name:ident { $($does:item)* })*) => {
        $(
            $(#[$about])*
            #[derive(Debug)]
            struct $name;
            impl Wrong for $name { $($does)* }
        )*
    };
}

wrongs! {
    NoHttp2 {
        const HTTP2: bool = false;
    }
    Guessed {
        fn info(session: &dyn Session) -> TlsInfo {
            let mut info = session.info();
            info.alpn.get_or_insert_with(|| b"h2".to_vec());
            info
        }
    }
    NoAlert {
        fn output(session: &mut dyn Session, ciphertext: &mut Vec<u8>, failed: bool) {
            let mut said = Vec::new();
            session.output(&mut said);
            if !failed {
                ciphertext.append(&mut said);
            }
        }
    }
    WholeMessages {
        fn receive(session: &mut dyn Session, ciphertext: &[u8]) -> Result<usize, TlsError> {
            if session.is_handshaking() && ciphertext.len() < 5 {
                return Err(TlsError::new("less than a record"));
            }
            session.receive(ciphertext)
        }
    }
    OtherFacts {
        fn info(session: &dyn Session) -> TlsInfo {
            let mut info = session.info();
            info.server_name = Some("always.example".into());
            info
        }
    }
    NeverResumed {
        fn info(session: &dyn Session) -> TlsInfo {
            let mut info = session.info();
            info.resumed = false;
            info
        }
    }
    NoCloseNotify {
        fn close(_: &mut dyn Session, _: &mut Vec<u8>) {}
    }
    /// It knows what the case about that sends last.
    CloseBehindHalf {
        fn write(session: &mut dyn Session, parts: &[IoSlice<'_>], ciphertext: &mut Vec<u8>) -> usize {
            let written = session.write(parts, ciphertext);
            if parts.iter().any(|part| part.windows(4).any(|four| four == b"half")) {
                session.close(ciphertext);
            }
            written
        }
    }
    NoEnd {
        fn has_ended(_: &dyn Session) -> bool {
            false
        }
    }
    NoCertificates {
        fn info(session: &dyn Session) -> TlsInfo {
            let mut info = session.info();
            info.peer_certificates.clear();
            info
        }
    }
}

/// Sessions of rustls' own, with tickets that promise to take early data.
#[derive(Debug)]
struct Early(Arc<rustls::ServerConfig>);

impl Early {
    fn new() -> Option<Self> {
        let (cert, key) = IDENTITY.get()?;
        let chain = vec![CertificateDer::from_pem_file(cert).ok()?];
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder =
            rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().ok()?;
        let key = PrivateKeyDer::from_pem_file(key).ok()?;
        let mut config = builder.with_no_client_auth().with_single_cert(chain, key).ok()?;
        config.max_early_data_size = 16 * 1024;
        Some(Early(Arc::new(config)))
    }
}

impl Acceptor for Early {
    fn accept(&self, _: bool) -> Box<dyn Session> {
        let tls = rustls::ServerConnection::new(self.0.clone()).expect("the configuration is usable");
        Box::new(EarlySession { tls, plain: Vec::new(), ended: false })
    }

    fn reload(&self) -> Result<(), Error> {
        Ok(())
    }
}

struct EarlySession {
    tls: rustls::ServerConnection,
    plain: Vec<u8>,
    ended: bool,
}

impl Session for EarlySession {
    fn receive(&mut self, mut ciphertext: &[u8]) -> Result<usize, TlsError> {
        let length = ciphertext.len();
        while !ciphertext.is_empty() {
            self.tls.read_tls(&mut ciphertext).map_err(|error| TlsError::new(error.to_string()))?;
            let state = self.tls.process_new_packets().map_err(|error| TlsError::new(error.to_string()))?;
            self.ended |= state.peer_has_closed();
            // Would block, or the end.
            let _ = self.tls.reader().read_to_end(&mut self.plain);
        }
        Ok(length)
    }

    fn read(&mut self, buffer: &mut [u8]) -> usize {
        let count = buffer.len().min(self.plain.len());
        buffer[..count].copy_from_slice(&self.plain[..count]);
        self.plain.drain(..count);
        count
    }

    fn has_plaintext(&self) -> bool {
        !self.plain.is_empty()
    }

    fn write(&mut self, parts: &[IoSlice<'_>], ciphertext: &mut Vec<u8>) -> usize {
        let written = self.tls.writer().write_vectored(parts).unwrap_or(0);
        self.output(ciphertext);
        written
    }

    fn output(&mut self, ciphertext: &mut Vec<u8>) {
        while self.tls.wants_write() {
            self.tls.write_tls(ciphertext).expect("a Vec takes everything");
        }
    }

    fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    fn close(&mut self, ciphertext: &mut Vec<u8>) {
        self.tls.send_close_notify();
        self.output(ciphertext);
    }

    fn has_ended(&self) -> bool {
        self.ended && self.plain.is_empty()
    }

    fn info(&self) -> TlsInfo {
        TlsInfo::default()
    }
}

/// A body that ends where it should fail.
struct Swallowing(Mutex<Body>);

impl http_body::Body for Swallowing {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let mut body = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Poll::Ready(ready!(Pin::new(&mut *body).poll_frame(cx)).filter(Result::is_ok))
    }
}

pub(crate) const FAULTS: &[Fault] = &[
    Fault::new("http2_is_not_offered", &["tls::alpn_chooses_the_protocol"]).on(Base::Hyper).config(wrong::<NoHttp2>),
    Fault::new("no_alpn_is_http2", &["tls::alpn_chooses_the_protocol", "tls::nothing_is_guessed"])
        .on(Base::Hyper)
        .config(wrong::<Guessed>),
    Fault::new(
        "refuses_without_an_alert",
        &[
            "tls::nothing_in_common_is_refused",
            "tls_certificates::client_certificates_are_required",
            "tls_certificates::client_certificates_are_optional",
            "tls_certificates::oldest_version_is_kept",
        ],
    )
    .on(Base::ThreadPool)
    .config(wrong::<NoAlert>),
    Fault::new("handshakes_have_no_deadline", &["tls::handshake_has_a_deadline"])
        .on(Base::Hyper)
        .config(|config| config.timeouts.tls_handshake = None),
    Fault::new("deadline_of_the_handshake_goes_on", &["tls::deadline_ends_with_the_handshake"]).on(Base::Hyper).config(
        |config| {
            config.timeouts.header_read = config.timeouts.tls_handshake;
            config.timeouts.keep_alive = config.timeouts.tls_handshake;
        },
    ),
    Fault::new("one_handshake_at_a_time", &["tls::slow_handshakes_hold_up_nobody"])
        .on(Base::ThreadPool)
        .config(|config| config.limits.handshakes = 1),
    Fault::new("handshakes_are_whole_records", &["tls::handshake_in_octets"])
        .on(Base::ThreadPool)
        .config(wrong::<WholeMessages>),
    Fault::new("plain_http_is_served_too", &["tls::plain_http_is_told"])
        .on(Base::Hyper)
        .config(|config| config.tls = None),
    Fault::new("server_name_is_made_up", &["tls::facts_of_the_handshake"])
        .on(Base::ThreadPool)
        .config(wrong::<OtherFacts>),
    Fault::new("resumption_is_not_told", &["tls::sessions_are_resumed"]).on(Base::Hyper).config(wrong::<NeverResumed>),
    Fault::new("early_data_is_taken", &["tls::no_early_data"])
        .on(Base::ThreadPool)
        .config(|config| config.tls = Early::new().map(Tls::new)),
    Fault::new(
        "says_no_close_notify",
        &[
            "tls_ends::whole_responses_end_in_order",
            "tls_ends::idle_connections_end_in_order",
            "tls_ends::drained_connections_end_in_order",
            "tls_ends::closed_stream_is_an_end",
        ],
    )
    .on(Base::Hyper)
    .config(wrong::<NoCloseNotify>),
    Fault::new("failed_bodies_end_in_order", &["tls_ends::broken_responses_look_broken"]).on(Base::Hyper).call(
        |application, request, environ| {
            Box::pin(async move {
                let response = application.call(request, environ).await?;
                Ok(response.map(|body| Body::from_http_body(Swallowing(Mutex::new(body)))))
            })
        },
    ),
    Fault::new("says_close_notify_behind_what_broke_off", &["tls_ends::broken_responses_look_broken"])
        .on(Base::ThreadPool)
        .config(wrong::<CloseBehindHalf>),
    Fault::new("stalls_are_waited_out", &["tls_ends::stalled_responses_look_broken"])
        .on(Base::ThreadPool)
        .config(|config| config.timeouts.write = Some(Duration::from_secs(600))),
    Fault::new("close_notify_is_overlooked", &["tls_ends::closed_stream_is_an_end"])
        .on(Base::ThreadPool)
        .config(wrong::<NoEnd>),
    Fault::new(
        "ends_under_tls_are_not_told",
        &[
            "tls_ends::idle_clients_may_leave",
            "tls_ends::cut_request_is_a_disconnect",
            "tls_ends::cut_stream_is_an_error",
        ],
    )
    .on(Base::Hyper)
    .end(|flow| flow.swallow_end = true),
    Fault::new(
        "one_certificate_for_all",
        &[
            "tls_certificates::certificate_is_the_named_one",
            "tls_certificates::client_certificates_are_required",
            "tls_certificates::client_certificates_are_optional",
            "tls_certificates::oldest_version_is_kept",
            "tls_certificates::reload_is_for_new_connections",
            "tls_certificates::reload_fails_no_request",
        ],
    )
    .on(Base::ThreadPool)
    .config(|config| config.tls = own_tls::make(&usual()).ok()),
    Fault::new("strangers_are_asked_for_certificates", &["tls_certificates::clients_are_not_asked"])
        .on(Base::Hyper)
        .config(|config| {
            let ca = IDENTITY.get().map(|(cert, _)| cert.clone());
            config.tls = own_tls::make(&Terms { client_ca: ca, ..usual() }).ok();
        }),
    Fault::new("client_certificates_are_not_told", &["tls_certificates::client_certificates_are_required"])
        .on(Base::ThreadPool)
        .config(wrong::<NoCertificates>),
];
