//! In Redis: messages in a stream, their keys in a hash, news by pub/sub.
//!
//! Two connections. One is for commands: the crate's `ConnectionManager` makes it anew when it is lost. The other listens,
//! and when it is lost whoever listens is told, since what was said meanwhile has to be read. Both need tokio around them.

use std::future::Future;
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use redis::aio::{ConnectionManager, ConnectionManagerConfig, PubSubSink, PubSubStream};
use redis::streams::{StreamId, StreamRangeReply};
use redis::{Client, Cmd, FromRedisValue, IntoConnectionInfo as _, RedisError, RedisResult, Value, cmd};

use super::{News, Page, Store, Unavailable};
use crate::message::{Entry, HISTORY, Id, Said};

/// The stream, and the channel of its news.
const MESSAGES: &str = "chat:messages";
const KEYS: &str = "chat:keys";
const SAY: &str = include_str!("say.lua");

/// A connection is there after this time, or it is not.
const CONNECT: Duration = Duration::from_secs(1);
/// An answer, too. Redis writes to its disk before it answers.
const ANSWER: Duration = Duration::from_secs(2);
/// A subscription that is silent for so long is asked whether it is there.
const SILENCE: Duration = Duration::from_secs(5);

/// The history of all processes that have the same Redis.
pub struct Redis {
    client: Client,
    commands: ConnectionManager,
}

impl Redis {
    /// Looks at the URL (`redis://HOST:PORT/DATABASE`), and connects to nothing.
    ///
    /// # Errors
    /// It is no URL of Redis.
    pub fn client(url: &str) -> RedisResult<Client> {
        let info = url.into_connection_info()?;
        #[cfg(target_os = "linux")]
        let info = {
            // A machine that is gone says nothing: without this, what was sent to it waits for a quarter of an hour.
            let settings = info.tcp_settings().clone().set_user_timeout(ANSWER);
            info.set_tcp_settings(settings)
        };
        Client::open(info)
    }

    /// The store, within a runtime of tokio's. It connects when it is first asked: Redis may be down now.
    ///
    /// # Errors
    /// None that is known of.
    pub fn new(client: Client) -> RedisResult<Self> {
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(ANSWER))
            // Who asks is told at once, and asks again.
            .set_number_of_retries(0);
        let commands = client.get_connection_manager_lazy(config)?;
        Ok(Redis { client, commands })
    }

    /// Asks twice where the connection turns out to be lost, perhaps long ago: the manager has begun another. So it is for
    /// commands that may be repeated.
    async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Unavailable> {
        let mut commands = self.commands.clone();
        let answer = match command.query_async(&mut commands).await {
            Err(error) if error.is_connection_dropped() => command.query_async(&mut commands).await,
            answer => answer,
        };
        answer.map_err(Unavailable::from)
    }
}

impl Store for Redis {
    type News = Subscription;

    async fn say(&self, said: &Said) -> Result<Id, Unavailable> {
        let mut say = cmd("EVAL");
        say.arg(SAY).arg(2).arg(MESSAGES).arg(KEYS);
        say.arg(HISTORY).arg(said.key()).arg(said.name()).arg(said.text());
        self.ask::<String>(&say).await?.parse().map_err(|_| not_ours())
    }

    async fn read(&self, after: Id) -> Result<Page, Unavailable> {
        // With the last one that is known, to see whether it is still there: else others are gone, too.
        let mut range = cmd("XRANGE");
        range.arg(MESSAGES).arg(after.to_string()).arg("+").arg("COUNT").arg(HISTORY + 1);
        let reply: StreamRangeReply = self.ask(&range).await?;
        let mut entries = reply.ids.iter().map(entry).collect::<Result<Vec<_>, _>>()?;
        let is_known = entries.first().is_some_and(|first| first.id == after);
        let whole = is_known || entries.is_empty() || after == Id::default();
        entries.drain(..usize::from(is_known));
        Ok(Page { entries, whole })
    }

    async fn listen(&self) -> Result<Subscription, Unavailable> {
        let mut listening = within(CONNECT, self.client.get_async_pubsub()).await?;
        within(ANSWER, listening.subscribe(MESSAGES)).await?;
        let (asks, hears) = listening.split();
        Ok(Subscription { asks, hears })
    }
}

/// A connection that listens.
pub struct Subscription {
    asks: PubSubSink,
    hears: PubSubStream,
}

impl News for Subscription {
    async fn next(&mut self) -> Result<(), Unavailable> {
        match tokio::time::timeout(SILENCE, self.hears.next()).await {
            Ok(Some(_)) => {
                // Who looks once sees all of them.
                while let Some(Some(_)) = self.hears.next().now_or_never() {}
                Ok(())
            }
            Ok(None) => Err(Unavailable("the subscription has ended".to_owned())),
            Err(_) => within(ANSWER, self.asks.ping::<Value>()).await.map(|_| ()),
        }
    }
}

/// What an entry of the stream says.
fn entry(entry: &StreamId) -> Result<Entry, Unavailable> {
    let field = |name| entry.get::<String>(name).ok_or_else(not_ours);
    Ok(Entry { id: entry.id.parse().map_err(|_| not_ours())?, name: field("name")?, text: field("text")? })
}

fn not_ours() -> Unavailable {
    Unavailable(format!("{MESSAGES} is somebody else's"))
}

async fn within<T>(time: Duration, asked: impl Future<Output = RedisResult<T>>) -> Result<T, Unavailable> {
    match tokio::time::timeout(time, asked).await {
        Ok(answer) => answer.map_err(Unavailable::from),
        Err(_) => Err(Unavailable("it does not answer".to_owned())),
    }
}

impl From<RedisError> for Unavailable {
    fn from(error: RedisError) -> Self {
        Unavailable(error.to_string())
    }
}
