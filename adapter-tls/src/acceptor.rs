//! Who makes the sessions, and swaps what they are made of.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use adapter_core::Error;
use adapter_core::tls::{Acceptor, Session};
use rustls::ServerConfig;

use crate::error::LoadError;
use crate::session::RustlsSession;
use crate::settings::{Loaded, Settings};

/// By what [`Settings`] say.
#[derive(Debug)]
pub(crate) struct Loading {
    settings: Settings,
    current: Arc<RwLock<Arc<Loaded>>>,
    /// One reload at a time, so that the last one wins.
    reloading: Mutex<()>,
}

impl Loading {
    pub(crate) fn new(settings: Settings) -> Result<Self, LoadError> {
        let current = Arc::new(RwLock::new(Arc::new(settings.load(None)?)));
        Ok(Loading { settings, current, reloading: Mutex::new(()) })
    }
}

fn current(of: &RwLock<Arc<Loaded>>) -> Arc<Loaded> {
    of.read().unwrap_or_else(PoisonError::into_inner).clone()
}

impl Acceptor for Loading {
    fn accept(&self, http2: bool) -> Box<dyn Session> {
        let shared = self.current.clone();
        Box::new(RustlsSession::new(Box::new(move || {
            let loaded = current(&shared);
            if http2 { loaded.http2.clone() } else { loaded.http1.clone() }
        })))
    }

    fn reload(&self) -> Result<(), Error> {
        let _one = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let loaded = self.settings.load(Some(&current(&self.current))).map_err(Error::new)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(loaded);
        Ok(())
    }
}

/// By a configuration the program made.
#[derive(Debug)]
pub(crate) struct Given {
    http1: Arc<ServerConfig>,
    http2: Arc<ServerConfig>,
}

impl Given {
    pub(crate) fn new(config: &ServerConfig) -> Self {
        let (http1, http2) = Loaded::by_alpn(config.clone());
        Given { http1, http2 }
    }
}

impl Acceptor for Given {
    fn accept(&self, http2: bool) -> Box<dyn Session> {
        let config = if http2 { self.http2.clone() } else { self.http1.clone() };
        Box::new(RustlsSession::new(Box::new(move || config)))
    }

    /// Nothing: there are no files. The program's certificate resolver may look for newer ones.
    fn reload(&self) -> Result<(), Error> {
        Ok(())
    }
}
