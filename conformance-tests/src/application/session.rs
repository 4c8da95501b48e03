//! What the application does with a WebSocket: actions in order, the same for both faces.
//!
//! `echo` (to the end), `drain` (the same, in silence), `recv`, `send:TEXT`, `binary:N`, `flood:N:COUNT`,
//! `close:CODE:REASON`, `gate:NAME`, `error`, `panic`. Recorded are `ws-open`, `ws-text T`, `ws-binary LENGTH SUM`,
//! `ws-error KIND`, `ws-end`, `ws-closed CODE REASON`, `sent N`, `send-error`, `close-done`, `close-error`, and at last
//! `session-done` or `session-dropped`.

use adapter_core::Error;
use adapter_core::websocket::{self, BlockingWebSocket, Close, Message, WebSocket};

use super::records::{Dropped, Log};
use super::takeover::split;
use crate::text;

/// Both faces of a WebSocket.
pub(super) trait Face: Send {
    fn recv(&mut self) -> impl Future<Output = Option<Result<Message, websocket::Error>>> + Send;
    fn send(&mut self, message: Message) -> impl Future<Output = Result<(), websocket::Error>> + Send;
    fn close(&mut self, code: u16, reason: &str) -> impl Future<Output = Result<(), websocket::Error>> + Send;
    fn closed(&self) -> Option<Close>;
}

impl Face for WebSocket {
    fn recv(&mut self) -> impl Future<Output = Option<Result<Message, websocket::Error>>> + Send {
        WebSocket::recv(self)
    }

    fn send(&mut self, message: Message) -> impl Future<Output = Result<(), websocket::Error>> + Send {
        WebSocket::send(self, message)
    }

    fn close(&mut self, code: u16, reason: &str) -> impl Future<Output = Result<(), websocket::Error>> + Send {
        WebSocket::close(self, code, reason)
    }

    fn closed(&self) -> Option<Close> {
        WebSocket::closed(self)
    }
}

/// The blocking face, driven on a thread of its own.
pub(super) struct Blocking(pub(super) BlockingWebSocket);

impl Face for Blocking {
    async fn recv(&mut self) -> Option<Result<Message, websocket::Error>> {
        self.0.recv()
    }

    async fn send(&mut self, message: Message) -> Result<(), websocket::Error> {
        self.0.send(message)
    }

    async fn close(&mut self, code: u16, reason: &str) -> Result<(), websocket::Error> {
        self.0.close(code, reason)
    }

    fn closed(&self) -> Option<Close> {
        self.0.closed()
    }
}

/// Records a message; `false` at the end.
fn received(received: Option<&Result<Message, websocket::Error>>, log: &Log) -> bool {
    match received {
        Some(Ok(Message::Text(text))) if text.len() <= 512 => log.record(format!("ws-text {}", text::encode(text))),
        Some(Ok(message)) => {
            let sum = text::checksum(0, message.as_bytes());
            log.record(format!("ws-binary {} {sum:08x}", message.len()));
        }
        Some(Err(error)) => log.record(format!(
            "ws-error {}",
            match error {
                websocket::Error::Closed(_) => "closed".to_owned(),
                websocket::Error::Lost => "lost".to_owned(),
                websocket::Error::Protocol { code, .. } => format!("protocol {code}"),
                websocket::Error::Unresponsive(_) => "unresponsive".to_owned(),
                _ => "other".to_owned(),
            }
        )),
        None => log.record("ws-end"),
    }
    matches!(received, Some(Ok(_)))
}

/// Does the actions of a WebSocket, in order.
pub(super) async fn session(mut socket: impl Face, log: Log, actions: Vec<String>) -> Result<(), Error> {
    let mut guard = Dropped::new(&log, "session-dropped");
    log.record("ws-open");
    let mut sent = 0;
    for action in &actions {
        let (name, value) = split(action);
        match name {
            "echo" | "drain" | "recv" => loop {
                let next = socket.recv().await;
                let goes_on = received(next.as_ref(), &log);
                let unsent = match (next, name) {
                    (Some(Ok(message)), "echo") => socket.send(message).await.is_err(),
                    _ => false,
                };
                if !goes_on || unsent || name == "recv" {
                    break;
                }
            },
            "gate" => log.gate(value).await,
            "send" => send(&mut socket, text::decode_text(value).into(), &log, &mut sent).await,
            "binary" => send(&mut socket, text::pattern(value.parse().unwrap_or(0)).into(), &log, &mut sent).await,
            "flood" => {
                let (size, count) = split(value);
                let octets = adapter_core::Bytes::from(text::pattern(size.parse().unwrap_or(0)));
                for _ in 0..count.parse().unwrap_or(0) {
                    let before = sent;
                    send(&mut socket, octets.clone().into(), &log, &mut sent).await;
                    if sent == before {
                        break;
                    }
                }
            }
            "close" => {
                let (code, reason) = split(value);
                let outcome = socket.close(code.parse().unwrap_or(1000), &text::decode_text(reason)).await;
                log.record(if outcome.is_ok() { "close-done" } else { "close-error" });
            }
            "error" => {
                guard.becomes("session-done");
                return Err("conformance: a session failed".into());
            }
            "panic" => super::panic("in a session"),
            unknown => super::panic(&format!("unknown action {unknown}")),
        }
        if let Some(close) = socket.closed() {
            log.record(format!("ws-closed {} {}", close.code, text::encode(close.reason)).trim_end());
        }
    }
    guard.becomes("session-done");
    Ok(())
}

async fn send(socket: &mut impl Face, message: Message, log: &Log, sent: &mut u32) {
    match socket.send(message).await {
        Ok(()) => {
            *sent += 1;
            log.record(format!("sent {sent}"));
        }
        Err(_) => log.record("send-error"),
    }
}
