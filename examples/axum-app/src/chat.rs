//! WebSockets: an echo, and a room.

use axum::extract::State;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::sync::broadcast;

/// Sends back what comes.
pub(crate) async fn echo(upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(async |mut socket: WebSocket| {
        while let Some(Ok(message)) = socket.recv().await {
            let is_data = matches!(message, Message::Text(_) | Message::Binary(_));
            if is_data && socket.send(message).await.is_err() {
                return;
            }
        }
    })
}

/// Everybody hears what anybody says.
#[derive(Clone)]
pub(crate) struct Room(broadcast::Sender<Utf8Bytes>);

impl Room {
    pub(crate) fn new() -> Self {
        Room(broadcast::channel(100).0)
    }
}

pub(crate) async fn chat(upgrade: WebSocketUpgrade, State(room): State<Room>) -> Response {
    upgrade.on_upgrade(|socket| take_part(socket, room))
}

async fn take_part(socket: WebSocket, Room(room): Room) {
    let mut said = room.subscribe();
    let (mut sender, mut receiver) = socket.split();
    let hears = async {
        while let Ok(text) = said.recv().await {
            if sender.send(Message::Text(text)).await.is_err() {
                return;
            }
        }
    };
    let speaks = async {
        while let Some(Ok(message)) = receiver.next().await {
            if let Message::Text(text) = message {
                // We hear it ourselves, so somebody does.
                let _ = room.send(text);
            }
        }
    };
    // Until the client leaves, or hears too slowly.
    tokio::select! {
        () = hears => {}
        () = speaks => {}
    }
}
