//! What the client makes of the server's frames.

use super::frame::{ACK, END_HEADERS, END_STREAM, kind};
use super::{Head, Http2};
use crate::case::{Failure, ensure, ensure_eq};
use crate::wire::hpack;

impl Http2 {
    /// Reads one frame, and does what there is to do.
    ///
    /// # Errors
    /// There is none, or it is one that no server may send.
    pub fn read(&mut self) -> Result<(), Failure> {
        let (kind, flags, stream, payload) = self.frame()?;
        match kind {
            kind::DATA => {
                ensure!(flags & 8 == 0, "padding, which the client does not read");
                let answer = self.streams.get_mut(&stream).ok_or("DATA on a stream nobody opened")?;
                ensure!(answer.head().is_some(), "DATA before the head of the response");
                ensure!(!answer.ended, "DATA after the end of the stream");
                answer.body.extend_from_slice(&payload);
                answer.frames += 1;
                answer.ended = flags & END_STREAM != 0;
                if !payload.is_empty() && !self.stingy {
                    let room = (payload.len() as u32).to_be_bytes();
                    self.acknowledge(kind::WINDOW_UPDATE, 0, 0, &room);
                    self.acknowledge(kind::WINDOW_UPDATE, 0, stream, &room);
                }
            }
            kind::HEADERS => self.headers(flags, stream, payload)?,
            kind::RST_STREAM => {
                let code = word(&payload)?;
                self.streams.get_mut(&stream).ok_or("a reset of a stream nobody opened")?.reset = Some(code);
            }
            kind::SETTINGS if flags & ACK == 0 => self.configured(&payload)?,
            kind::SETTINGS => self.acknowledged += 1,
            kind::PING if flags & ACK == 0 => self.acknowledge(kind::PING, ACK, 0, &payload),
            kind::PING => self.pongs.push(payload),
            kind::GOAWAY => {
                let code = payload.get(4..).ok_or("a short GOAWAY")?;
                self.goaway = Some((word(&payload)?, word(code)?));
            }
            kind::WINDOW_UPDATE => {
                let more = i64::from(word(&payload)?);
                match stream {
                    0 => self.window += more,
                    _ => {
                        if let Some(answer) = self.streams.get_mut(&stream) {
                            answer.window += more;
                        }
                    }
                }
            }
            kind::PUSH_PROMISE => return Err("a push, which the client has forbidden".into()),
            kind::CONTINUATION => return Err("a continuation of nothing".into()),
            _ => {}
        }
        Ok(())
    }

    fn frame(&mut self) -> Result<(u8, u8, u32, Vec<u8>), Failure> {
        let head = self.connection.take(9, "a frame")?;
        let [a, b, c, kind, flags, ref stream @ ..] = head[..] else {
            return Err("the connection ended".into());
        };
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        // RFC 9113 §4.2
        ensure!(length <= 16_384, "a frame of {length} octets");
        let payload = self.connection.take(length, "the payload of a frame")?;
        ensure_eq!(payload.len(), length, "octets of a frame");
        Ok((kind, flags, word(stream)?, payload))
    }

    fn headers(&mut self, flags: u8, stream: u32, mut block: Vec<u8>) -> Result<(), Failure> {
        ensure!(flags & 0x28 == 0, "padding or priority, which the client does not read");
        let mut whole = flags & END_HEADERS != 0;
        while !whole {
            let (kind, flags, same, more) = self.frame()?;
            ensure!(kind == kind::CONTINUATION && same == stream, "a field block that is interrupted");
            whole = flags & END_HEADERS != 0;
            block.extend_from_slice(&more);
        }
        let fields = hpack::read(&block)?;
        for (name, _) in &fields {
            // RFC 9113 §8.2
            ensure!(!name.bytes().any(|octet| octet.is_ascii_uppercase()), "an upper-case field name: {name}");
        }
        let answer = self.streams.get_mut(&stream).ok_or("HEADERS on a stream nobody opened")?;
        ensure!(!answer.ended, "HEADERS after the end of the stream");
        answer.ended = flags & END_STREAM != 0;
        if answer.head().is_some() {
            ensure!(answer.ended, "trailers that do not end the stream");
            ensure!(fields.iter().all(|(name, _)| !name.starts_with(':')), "pseudo-header fields in trailers");
            answer.trailers = fields;
            return Ok(());
        }
        let mut fields = fields.into_iter();
        let status = fields.next().filter(|(name, value)| name == ":status" && value.len() == 3);
        let status = status.and_then(|(_, value)| String::from_utf8(value).ok()?.parse().ok());
        let status = status.ok_or("a response that does not begin with :status")?;
        answer.heads.push(Head { version: "2".into(), status, reason: String::new(), fields: fields.collect() });
        Ok(())
    }

    fn configured(&mut self, payload: &[u8]) -> Result<(), Failure> {
        let mut settings = Vec::new();
        for setting in payload.chunks(6) {
            let [a, b, ref value @ ..] = *setting else { return Err("a setting that is cut off".into()) };
            settings.push((u16::from_be_bytes([a, b]), word(value)?));
        }
        // SETTINGS_INITIAL_WINDOW_SIZE also moves the windows there are. RFC 9113 §6.9.2
        if let Some((_, size)) = settings.iter().find(|(id, _)| *id == 4) {
            let change = i64::from(*size) - self.initial_window;
            self.initial_window += change;
            self.streams.values_mut().for_each(|answer| answer.window += change);
        }
        self.settings.get_or_insert(settings);
        self.acknowledge(kind::SETTINGS, ACK, 0, &[]);
        Ok(())
    }
}

/// 31 bits.
fn word(octets: &[u8]) -> Result<u32, Failure> {
    let four = octets.first_chunk::<4>().ok_or("a number that is cut off")?;
    Ok(u32::from_be_bytes(*four) & 0x7fff_ffff)
}
