//! The application's side of an open WebSocket: to receive, to send, to close.
//!
//! A receiver and any number of senders share the connection. Each makes its own progress on the socket first and waits
//! only if there is none; the keeper goes on where nobody is. \[UPG-09\], \[UPG-13\], \[UPG-14\], \[UPG-20\]

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use futures_sink::Sink;
use http::HeaderMap;

use super::deflate::agreed_by_answer;
use super::keeper::Keeper;
use super::link::{Phase, Shared};
use super::message::{Close, Error, Message, code};
use super::options::Options;
use super::wire::{Packed, Role, frame_length};
use crate::runtime::Runtime;
use crate::upgrade::Upgraded;

/// The application's hold: the last handle dropped closes the WebSocket.
struct User(Arc<Shared>);

impl Drop for User {
    fn drop(&mut self) {
        self.0.lock().close(code::NORMAL, "", self.0.now());
        self.0.wakers.wake_all();
    }
}

impl User {
    /// Tells the others what a turn has changed.
    fn tell(&self, changes: super::link::Changes) {
        if changes.phase {
            self.0.wakers.wake_all();
        } else if changes.sent {
            self.0.wakers.wake_senders();
        }
    }

    fn poll_receive(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Message, Error>>> {
        let shared = &*self.0;
        let mut link = shared.lock();
        if let Some(message) = link.take_message() {
            drop(link);
            // It stopped reading because of this message.
            shared.wakers.wake_keeper();
            return Poll::Ready(Some(Ok(message)));
        }
        if link.end().is_none() {
            shared.wakers.set_receiver(cx.waker());
            let now = shared.moment();
            link.pump_in(&now, false);
            // An answer to a ping, or a close.
            link.pump_out(&now);
        }
        let changes = link.take_changes();
        let message = link.take_message();
        let outcome = match (message, link.end().is_some()) {
            (Some(message), _) => Poll::Ready(Some(Ok(message))),
            (None, true) => Poll::Ready(link.take_failure().map(Err)),
            (None, false) => Poll::Pending,
        };
        drop(link);
        self.tell(changes);
        outcome
    }

    /// Takes and queues what was packed once there is room, and says when it has left; `None` if it has.
    fn poll_queue(&self, cx: &mut Context<'_>, packed: &mut Option<Packed>) -> Poll<Result<Option<u64>, Error>> {
        let shared = &*self.0;
        let mut link = shared.lock();
        if let Some(refusal) = link.refusal() {
            return Poll::Ready(Err(refusal));
        }
        let now = shared.moment();
        if !link.has_room() {
            shared.wakers.add_sender(cx.waker());
            link.pump_out(&now);
        }
        let queued = packed.take_if(|_| link.has_room()).map(|packed| link.queue(packed, now.get()));
        if queued.is_some() {
            link.pump_out(&now);
        }
        let outcome = queued.map(|position| Ok(Some(position).filter(|position| !link.has_left(*position))));
        let (changes, waits) = (link.take_changes(), link.backlog() > 0);
        drop(link);
        self.tell(changes);
        if waits {
            // It watches over what does not leave.
            shared.wakers.wake_keeper();
        }
        outcome.map_or(Poll::Pending, Poll::Ready)
    }

    /// Waits until everything up to `position` has left.
    fn poll_left(&self, cx: &mut Context<'_>, position: u64) -> Poll<Result<(), Error>> {
        let shared = &*self.0;
        let mut link = shared.lock();
        if link.has_left(position) {
            return Poll::Ready(Ok(()));
        }
        if link.phase() == Phase::Ended {
            return Poll::Ready(Err(link.refusal().unwrap_or(Error::Lost)));
        }
        shared.wakers.add_sender(cx.waker());
        link.pump_out(&shared.moment());
        let left = link.has_left(position);
        let changes = link.take_changes();
        drop(link);
        self.tell(changes);
        if left { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    async fn send(&self, message: Message) -> Result<(), Error> {
        let mut packed = Some(self.0.pack(message));
        match poll_fn(|cx| self.poll_queue(cx, &mut packed)).await? {
            Some(position) => poll_fn(|cx| self.poll_left(cx, position)).await,
            None => Ok(()),
        }
    }

    fn try_send(&self, message: Message) -> Result<(), Error> {
        let shared = &*self.0;
        let packed = shared.pack(message);
        let mut link = shared.lock();
        if let Some(refusal) = link.refusal() {
            return Err(refusal);
        }
        let now = shared.moment();
        // [UPG-20] a message of any size fits an empty queue; behind others it must fit the bound
        let needed = link.backlog().saturating_add(frame_length(packed.len()));
        let fits = link.backlog() == 0 || needed <= link.options.max_write_buffer;
        if fits {
            link.queue(packed, now.get());
            link.pump_out(&now);
        } else {
            link.give_up("it does not read");
        }
        let (changes, waits) = (link.take_changes(), link.backlog() > 0);
        let refusal = if fits { None } else { link.refusal() };
        drop(link);
        self.tell(changes);
        if waits {
            shared.wakers.wake_keeper();
        }
        refusal.map_or(Ok(()), Err)
    }

    async fn close(&self, close_code: u16, reason: &str) -> Result<(), Error> {
        if !code::is_sendable(close_code) {
            return Err(Error::InvalidCode(close_code));
        }
        {
            let mut link = self.0.lock();
            if let Some(refusal) = link.refusal() {
                return Err(refusal);
            }
            let now = self.0.moment();
            link.close(close_code, reason, now.get());
            link.pump_out(&now);
        }
        self.0.wakers.wake_all();
        // The keeper sees it through, within its time.
        poll_fn(|cx| {
            self.0.wakers.add_sender(cx.waker());
            match self.0.lock().phase() {
                Phase::Ending { .. } | Phase::Ended => Poll::Ready(()),
                _ => Poll::Pending,
            }
        })
        .await;
        Ok(())
    }

    fn closed(&self) -> Option<Close> {
        self.0.lock().end().cloned()
    }

    async fn wait_closed(&self) -> Close {
        poll_fn(|cx| {
            self.0.wakers.add_sender(cx.waker());
            self.closed().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

/// Keeps a WebSocket open though all handles of the application are dropped.
pub(super) struct Hold(#[expect(dead_code, reason = "for its drop")] Arc<User>);

/// An open WebSocket.
///
/// Receives with [`recv`](Self::recv) or as a [`Stream`], sends with [`send`](Self::send) or as a [`Sink`]; both from
/// two tasks after [`split`](Self::split). Pings are answered without the application, even while it does not receive,
/// as long as no more than one message waits for it. Dropping the last handle, or returning from the handler, closes with
/// 1000; the rest of the closing handshake happens in the background.
pub struct WebSocket {
    receiver: Receiver,
    sender: Sender,
}

impl WebSocket {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let user = Arc::new(User(shared));
        WebSocket { receiver: Receiver(user.clone()), sender: Sender { user, flushing: None } }
    }

    /// The client's side, for the testing client, by the head of the `answer`. Nothing of its own ends it.
    pub(crate) fn of_client(stream: Upgraded, answer: &HeaderMap, runtime: &Runtime) -> Self {
        let deflate = agreed_by_answer(answer);
        let options = Options { max_message: usize::MAX, ping_interval: None, deflate, ..Options::default() };
        let shared = Shared::new(stream, Role::Client, options, runtime);
        runtime.drive(Keeper::of_client(shared.clone()));
        WebSocket::new(shared)
    }

    pub(super) fn hold(&self) -> Hold {
        Hold(self.sender.user.clone())
    }

    /// The next message; `None` once it is closed, whoever closed it: [`closed`](Self::closed) tells how.
    ///
    /// Cancel safe: dropping the future loses nothing.
    ///
    /// # Errors
    /// Once, instead of `None`, where it did not end with a close frame: [`Error::Lost`], [`Error::Protocol`],
    /// [`Error::Unresponsive`].
    pub async fn recv(&mut self) -> Option<Result<Message, Error>> {
        self.receiver.recv().await
    }

    /// Sends a message, and waits until it is handed to the operating system: as long as the client does not read, this
    /// does not end, up to the send timeout.
    ///
    /// Cancel safe: dropping the future before it is ready may or may not send the message, and never part of it.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::Lost`], [`Error::Unresponsive`]: this client gets nothing any more. \[UPG-14\]
    pub async fn send(&mut self, message: impl Into<Message>) -> Result<(), Error> {
        self.sender.send(message).await
    }

    /// Closes with `code` and `reason`, and waits for the client's answer, up to the close timeout. Messages that have
    /// not been received are dropped. A reason above 123 bytes is cut. \[UPG-13a\], \[UPG-13c\]
    ///
    /// Cancel safe: the handshake goes on without the future.
    ///
    /// # Errors
    /// [`Error::InvalidCode`]; the refusal of any sending if it is closed already.
    pub async fn close(&mut self, code: u16, reason: &str) -> Result<(), Error> {
        self.sender.close(code, reason).await
    }

    /// How it was closed, `None` while it is open. Does not block. \[UPG-12\]
    pub fn closed(&self) -> Option<Close> {
        self.sender.closed()
    }

    /// A sender and a receiver, for two tasks or threads. The sender can be cloned.
    pub fn split(self) -> (Sender, Receiver) {
        (self.sender, self.receiver)
    }
}

impl Stream for WebSocket {
    type Item = Result<Message, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.receiver).poll_next(cx)
    }
}

impl Sink<Message> for WebSocket {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Pin::new(&mut self.sender).poll_ready(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), Error> {
        Pin::new(&mut self.sender).start_send(message)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Pin::new(&mut self.sender).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Pin::new(&mut self.sender).poll_close(cx)
    }
}

/// The receiving side of a [`WebSocket`]. Dropping it drops what the client sends; the senders go on.
pub struct Receiver(Arc<User>);

impl Receiver {
    /// As [`WebSocket::recv`].
    ///
    /// # Errors
    /// As [`WebSocket::recv`].
    pub async fn recv(&mut self) -> Option<Result<Message, Error>> {
        poll_fn(|cx| self.0.poll_receive(cx)).await
    }

    /// As [`WebSocket::closed`].
    pub fn closed(&self) -> Option<Close> {
        self.0.closed()
    }
}

impl Stream for Receiver {
    type Item = Result<Message, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_receive(cx)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let mut link = self.0.0.lock();
        link.deaf = true;
        let waited = link.take_message().is_some();
        drop(link);
        if waited {
            self.0.0.wakers.wake_keeper();
        }
    }
}

/// The sending side of a [`WebSocket`]; clones send on the same one, in any order between them.
pub struct Sender {
    user: Arc<User>,
    /// As a sink: when what it was given has left.
    flushing: Option<u64>,
}

impl Clone for Sender {
    fn clone(&self) -> Self {
        Sender { user: self.user.clone(), flushing: None }
    }
}

impl Sender {
    /// As [`WebSocket::send`].
    ///
    /// # Errors
    /// As [`WebSocket::send`].
    pub async fn send(&self, message: impl Into<Message>) -> Result<(), Error> {
        self.user.send(message.into()).await
    }

    /// Sends without waiting: for messages to many, who must not wait for the slowest. What the socket does not take at
    /// once is queued, up to the write buffer's bound; a client that has fallen behind by more is disconnected, and the
    /// others do not notice. Usable from any thread, does not block. \[UPG-20\]
    ///
    /// # Errors
    /// As [`WebSocket::send`].
    pub fn try_send(&self, message: impl Into<Message>) -> Result<(), Error> {
        self.user.try_send(message.into())
    }

    /// As [`WebSocket::close`].
    ///
    /// # Errors
    /// As [`WebSocket::close`].
    pub async fn close(&self, code: u16, reason: &str) -> Result<(), Error> {
        self.user.close(code, reason).await
    }

    /// As [`WebSocket::closed`].
    pub fn closed(&self) -> Option<Close> {
        self.user.closed()
    }

    /// Waits until the WebSocket is closed, by whomever. Cancel safe.
    pub async fn wait_closed(&self) -> Close {
        self.user.wait_closed().await
    }

    /// Bytes that are queued because the client does not take them. Does not block.
    pub fn backlog(&self) -> usize {
        self.user.0.lock().backlog()
    }
}

impl Sink<Message> for Sender {
    type Error = Error;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let shared = &*self.user.0;
        let mut link = shared.lock();
        if let Some(refusal) = link.refusal() {
            return Poll::Ready(Err(refusal));
        }
        if !link.has_room() {
            shared.wakers.add_sender(cx.waker());
            link.pump_out(&shared.moment());
        }
        if link.has_room() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), Error> {
        let packed = self.user.0.pack(message);
        let mut link = self.user.0.lock();
        if let Some(refusal) = link.refusal() {
            return Err(refusal);
        }
        let position = link.queue(packed, self.user.0.now());
        drop(link);
        self.user.0.wakers.wake_keeper();
        self.flushing = Some(position);
        Ok(())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if let Some(position) = self.flushing {
            ready!(self.user.poll_left(cx, position))?;
            self.flushing = None;
        }
        Poll::Ready(Ok(()))
    }

    /// Closes with 1000 and waits for the client's answer.
    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        ready!(self.as_mut().poll_flush(cx))?;
        let shared = &*self.user.0;
        shared.wakers.add_sender(cx.waker());
        let mut link = shared.lock();
        if link.phase() == Phase::Open {
            let now = shared.moment();
            link.close(code::NORMAL, "", now.get());
            link.pump_out(&now);
            drop(link);
            shared.wakers.wake_keeper();
            return Poll::Pending;
        }
        if matches!(link.phase(), Phase::Closing { .. }) { Poll::Pending } else { Poll::Ready(Ok(())) }
    }
}

impl fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocket").field("closed", &self.closed()).finish()
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("closed", &self.closed()).finish()
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("closed", &self.closed()).finish()
    }
}
