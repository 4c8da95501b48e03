//! A body of as many octets as were said in front of it, behind which the connection has no more requests: SCGI's and uwsgi's.

use bytes::Bytes;

use crate::framing::Event;

/// Octets that are to come.
#[derive(Debug)]
pub(crate) struct Counted(u64);

impl Counted {
    /// Of `length` octets; one of none has ended.
    pub(crate) fn begin(length: u64, event: &mut dyn FnMut(Event)) -> Self {
        if length == 0 {
            event(Event::End);
        }
        Counted(length)
    }

    /// Takes what is of it. What comes behind it is of no request.
    pub(crate) fn receive(&mut self, octets: &[u8], event: &mut dyn FnMut(Event)) {
        let fits = octets.len().min(usize::try_from(self.0).unwrap_or(usize::MAX));
        let data = octets.get(..fits).unwrap_or_default();
        if data.is_empty() {
            return;
        }
        self.0 -= data.len() as u64;
        event(Event::Data(Bytes::copy_from_slice(data)));
        if self.0 == 0 {
            event(Event::End);
        }
    }
}
