//! async-channel's bounded channel, by its documentation: a queue under a lock, which is the library's and not counted.
//!
//! Whoever waits for room or for a message is woken where there is some, all of them, and looks again.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use shuttle::sync::{Mutex, MutexGuard};

use super::{Event, EventListener, block_on};

struct Channel<T> {
    state: Mutex<State<T>>,
    /// There is room, or it is closed.
    room: Event,
    /// There is a message, or it is closed.
    filled: Event,
}

struct State<T> {
    queue: VecDeque<T>,
    capacity: usize,
    senders: usize,
    closed: bool,
}

impl<T> Channel<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().expect("no model goes on behind a panic")
    }

    fn close(&self) {
        self.lock().closed = true;
        self.room.notify(usize::MAX);
        self.filled.notify(usize::MAX);
    }
}

pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let state = State { queue: VecDeque::new(), capacity, senders: 1, closed: false };
    let channel = Arc::new(Channel { state: Mutex::new(state), room: Event::default(), filled: Event::default() });
    (Sender(channel.clone()), Receiver { channel, listener: None })
}

pub struct Sender<T>(Arc<Channel<T>>);

/// What was not sent, as the channel is closed.
#[derive(Debug)]
pub struct SendError<T>(pub T);

#[derive(Debug)]
pub enum TrySendError<T> {
    Full(T),
    Closed(T),
}

impl<T> Sender<T> {
    pub async fn send(&self, mut message: T) -> Result<(), SendError<T>> {
        loop {
            let room = self.0.room.listen();
            message = match self.try_send(message) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Closed(message)) => return Err(SendError(message)),
                Err(TrySendError::Full(message)) => message,
            };
            room.await;
        }
    }

    pub fn send_blocking(&self, message: T) -> Result<(), SendError<T>> {
        block_on(self.send(message))
    }

    pub fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
        let mut state = self.0.lock();
        if state.closed {
            return Err(TrySendError::Closed(message));
        }
        if state.queue.len() == state.capacity {
            return Err(TrySendError::Full(message));
        }
        state.queue.push_back(message);
        drop(state);
        self.0.filled.notify(usize::MAX);
        Ok(())
    }

    pub fn close(&self) {
        self.0.close();
    }

    pub fn is_closed(&self) -> bool {
        self.0.lock().closed
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.lock().senders += 1;
        Sender(self.0.clone())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.senders -= 1;
        let is_last = state.senders == 0;
        drop(state);
        if is_last {
            self.0.close();
        }
    }
}

impl<T> std::fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sender")
    }
}

pub struct Receiver<T> {
    channel: Arc<Channel<T>>,
    listener: Option<EventListener>,
}

#[derive(Debug)]
pub enum TryRecvError {
    Empty,
    Closed,
}

impl<T> Receiver<T> {
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        let mut state = self.channel.lock();
        let Some(message) = state.queue.pop_front() else {
            return Err(if state.closed { TryRecvError::Closed } else { TryRecvError::Empty });
        };
        drop(state);
        self.channel.room.notify(usize::MAX);
        Ok(message)
    }

    pub fn close(&self) {
        self.channel.close();
    }
}

impl<T> Stream for Receiver<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        loop {
            if let Some(listener) = &mut self.listener {
                ready!(Pin::new(listener).poll(cx));
                self.listener = None;
            }
            let listener = self.channel.filled.listen();
            match self.try_recv() {
                Ok(message) => return Poll::Ready(Some(message)),
                Err(TryRecvError::Closed) => return Poll::Ready(None),
                Err(TryRecvError::Empty) => self.listener = Some(listener),
            }
        }
    }
}

impl<T> Drop for Receiver<T> {
    /// It is the only one: nobody clones it.
    fn drop(&mut self) {
        self.channel.close();
    }
}
