//! Response bodies made of scripted items: as an iterator, an async stream, or fed into a channel.
//!
//! Items: `text:T`, `size:N` (of the fixed pattern), `empty`, `gate:NAME` (waits for the client), `sleep:MS`,
//! `pending` (for ever), `error`, `panic`, `times:N:ITEM`, `forever:ITEM`. Each asking, the end and the drop are
//! recorded: `asked N`, `body-end`, `asked-after-end`, `body-dropped`.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use adapter_core::http::HeaderMap;
use adapter_core::{BodySender, Bytes, Environ, Error, Runtime};
use http_body::{Body, Frame, SizeHint};

use super::records::{Dropped, Log};
use crate::text;

#[derive(Clone, Debug)]
enum Item {
    Data(Bytes),
    Gate(String),
    Sleep(Duration),
    Pending,
    Error,
    Panic,
    Forever(Bytes),
}

/// Scripted items; an iterator of chunks.
pub(super) struct Items {
    items: VecDeque<Item>,
    log: Log,
    asked: usize,
    over: bool,
    dropped: Dropped,
}

/// What to do next to have the next chunk.
enum Next {
    Chunk(Option<Result<Bytes, Error>>),
    Gate(String),
    Sleep(Duration),
    Pending,
}

impl Items {
    pub(super) fn new(log: &Log, words: &[String]) -> Self {
        let mut items = VecDeque::new();
        words.iter().for_each(|word| parse(word, &mut items));
        Items { items, log: log.clone(), asked: 0, over: false, dropped: Dropped::new(log, "body-dropped") }
    }

    /// Panics when it is dropped.
    pub(super) fn panic_on_drop(&mut self) {
        self.dropped.panics();
    }

    fn asked(&mut self) {
        self.log.record(if self.over { "asked-after-end".to_owned() } else { format!("asked {}", self.asked) });
        self.asked += 1;
    }

    fn advance(&mut self) -> Next {
        let Some(item) = self.items.pop_front() else {
            if !std::mem::replace(&mut self.over, true) {
                self.log.record("body-end");
            }
            return Next::Chunk(None);
        };
        match item {
            Item::Data(data) => Next::Chunk(Some(Ok(data))),
            Item::Gate(gate) => Next::Gate(gate),
            Item::Sleep(duration) => Next::Sleep(duration),
            Item::Pending => Next::Pending,
            Item::Error => {
                self.over = true;
                Next::Chunk(Some(Err("conformance: an item failed".into())))
            }
            Item::Panic => {
                self.over = true;
                super::panic("in a body")
            }
            Item::Forever(data) => {
                self.items.push_front(Item::Forever(data.clone()));
                Next::Chunk(Some(Ok(data)))
            }
        }
    }

    /// Sends the items into a channel, blocking; then drops its sender.
    pub(super) fn feed_blocking(self, sender: BodySender) {
        let log = self.log.clone();
        for chunk in self {
            let failed = chunk.is_err();
            if sender.send_blocking(chunk).is_err() {
                log.record("send-error");
            } else if !failed {
                continue;
            }
            return;
        }
    }

    /// Sends the items into a channel; then drops its sender.
    pub(super) async fn feed(self, sender: BodySender, environ: Environ) {
        let log = self.log.clone();
        let mut stream = Stream::new(self, environ.runtime().clone());
        while let Some(chunk) = std::future::poll_fn(|cx| stream.poll(cx)).await {
            let failed = chunk.is_err();
            if sender.send(chunk).await.is_err() {
                log.record("send-error");
            } else if !failed {
                continue;
            }
            return;
        }
    }
}

impl Iterator for Items {
    type Item = Result<Bytes, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.asked();
        loop {
            match self.advance() {
                Next::Chunk(chunk) => return chunk,
                Next::Gate(gate) => self.log.gate_blocking(&gate),
                Next::Sleep(duration) => std::thread::sleep(duration),
                Next::Pending => futures_lite::future::block_on(std::future::pending()),
            }
        }
    }
}

/// Scripted items as an async body.
pub(super) struct Stream {
    items: Items,
    runtime: Runtime,
    waiting: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    size: SizeHint,
    trailers: Option<HeaderMap>,
}

impl Stream {
    pub(super) fn new(items: Items, runtime: Runtime) -> Self {
        Stream { items, runtime, waiting: None, size: SizeHint::new(), trailers: None }
    }

    /// With a length hint, true or not.
    pub(super) fn hint(mut self, size: SizeHint) -> Self {
        self.size = size;
        self
    }

    /// With trailers that nobody knows of before they come.
    pub(super) fn trailers(mut self, trailers: HeaderMap) -> Self {
        self.trailers = Some(trailers);
        self
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        if self.waiting.is_none() {
            self.items.asked();
        }
        loop {
            if let Some(waiting) = &mut self.waiting {
                std::task::ready!(waiting.as_mut().poll(cx));
                self.waiting = None;
            }
            self.waiting = Some(match self.items.advance() {
                Next::Chunk(chunk) => return Poll::Ready(chunk),
                Next::Gate(gate) => {
                    let log = self.items.log.clone();
                    Box::pin(async move { log.gate(&gate).await })
                }
                Next::Sleep(duration) => Box::pin(self.runtime.sleep(duration)),
                Next::Pending => Box::pin(std::future::pending()),
            });
        }
    }
}

impl Body for Stream {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let next = std::task::ready!(self.poll(cx));
        if let Some(Ok(data)) = &next {
            let left = |bound: u64| bound.saturating_sub(data.len() as u64);
            let mut size = SizeHint::new();
            if let Some(upper) = self.size.upper() {
                size.set_upper(left(upper));
            }
            size.set_lower(left(self.size.lower()));
            self.size = size;
        }
        match next {
            None => Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers)))),
            next => Poll::Ready(next.map(|chunk| chunk.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.size.exact() == Some(0) && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.size
    }
}

fn parse(word: &str, items: &mut VecDeque<Item>) {
    let (kind, rest) = word.split_once(':').unwrap_or((word, ""));
    let number = || rest.parse().unwrap_or(0);
    items.push_back(match kind {
        "text" => Item::Data(Bytes::copy_from_slice(&text::decode(rest))),
        "size" => Item::Data(text::pattern(number() as usize).into()),
        "empty" => Item::Data(Bytes::new()),
        "gate" => Item::Gate(rest.to_owned()),
        "sleep" => Item::Sleep(Duration::from_millis(number())),
        "pending" => Item::Pending,
        "error" => Item::Error,
        "panic" => Item::Panic,
        "times" => {
            let (count, word) = rest.split_once(':').unwrap_or((rest, "empty"));
            let mut one = VecDeque::new();
            parse(word, &mut one);
            (0..count.parse().unwrap_or(0)).for_each(|_| items.extend(one.iter().cloned()));
            return;
        }
        "forever" => {
            let mut one = VecDeque::new();
            parse(rest, &mut one);
            match one.pop_front() {
                Some(Item::Data(data)) => Item::Forever(data),
                _ => Item::Pending,
            }
        }
        _ => super::panic(&format!("unknown item {word}")),
    });
}
