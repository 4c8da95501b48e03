//! What stands for TLS in a build without the feature `tls`: nobody can have one of these.

use std::io;
use std::net::TcpStream;

use crate::case::Failure;

/// How the server's stream ended.
#[derive(Clone, Copy)]
pub(super) enum Ended {}

impl Ended {
    pub(super) fn event(self) -> &'static str {
        match self {}
    }
}

/// What clients of a server speak.
#[derive(Clone, Debug)]
pub enum Client {}

impl Client {
    /// For servers in other processes.
    ///
    /// # Errors
    /// Always, in this build.
    pub fn of_strangers() -> Result<Self, String> {
        Err("this build of the suite has no TLS (feature tls)".into())
    }

    pub(crate) fn alpn(self, _: &[&str]) -> Self {
        match self {}
    }
}

pub(super) enum Session {}

impl Session {
    pub(super) fn new(client: &Client, _: std::net::IpAddr) -> Result<Self, Failure> {
        match *client {}
    }

    pub(super) fn is_opening(&self) -> bool {
        match *self {}
    }

    pub(super) fn ended(&self) -> Option<Ended> {
        match *self {}
    }

    pub(super) fn has_spoken(&self) -> bool {
        match *self {}
    }

    pub(super) fn read(&self, _: &TcpStream, _: &mut [u8]) -> io::Result<usize> {
        match *self {}
    }

    pub(super) fn write(&self, _: &TcpStream, _: &[u8]) -> io::Result<usize> {
        match *self {}
    }

    pub(super) fn flush(&self, _: &TcpStream) -> io::Result<()> {
        match *self {}
    }

    pub(super) fn close(&self, _: &TcpStream) {
        match *self {}
    }
}
