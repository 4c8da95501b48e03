//! WebSockets through an upgrade of the program: the client learns that it may come back at once, and its new one is the
//! new process's. \[UPG-22\]

use adapter_core::websocket::{Error as Lost, Upgrade};
use adapter_web::{Environ, Error, Request, Response};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Message, WebSocket};

use crate::operator::upgraded;
use crate::program::{command, connect, start};

/// Says the number of its process, and what it is told.
pub(crate) fn echo(request: &Request, environ: &Environ) -> Result<Response, Error> {
    let accepted = Upgrade::from_request(request, environ)?.accept(|mut socket| async move {
        socket.send(std::process::id().to_string()).await?;
        while let Some(message) = socket.recv().await {
            socket.send(message?).await?;
        }
        Ok::<_, Lost>(())
    });
    Ok(accepted?)
}

type Client = WebSocket<std::net::TcpStream>;

fn open(address: &str) -> (Client, u32) {
    let (mut client, _) =
        tungstenite::client(format!("ws://{address}/websocket"), connect(address)).expect("a handshake");
    let process = client.read().expect("a greeting").into_text().expect("a text").parse().expect("a number");
    (client, process)
}

fn closed(mut client: Client) -> CloseCode {
    match client.read().expect("a frame") {
        Message::Close(Some(close)) => close.code,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn upgrade(server: &str) {
    let program = start(command(&["--server", server, "--bind", "127.0.0.1:0"]));
    let address = program.address();
    let first = program.child.id();
    let (mut client, process) = open(&address);
    assert_eq!(process, first);
    let next = upgraded(&program, first);
    // What the old one's queue still held is served by it, and told the same.
    let client = loop {
        assert_eq!(closed(client), CloseCode::Restart, "1012");
        let (again, process) = open(&address);
        if process == next {
            break again;
        }
        client = again;
    };
    let kill = std::process::Command::new("kill").args(["-TERM", &next.to_string()]).status();
    assert!(kill.expect("kill runs").success());
    assert_eq!(closed(client), CloseCode::Away, "nobody follows: 1001");
    let (ended, stderr, _) = program.end();
    assert_eq!(ended.code(), Some(0), "{stderr:?}");
}
