//! The one place of this project that needs `unsafe`.

use std::os::fd::BorrowedFd;

use hyper::rt::ReadBufCursor;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

/// Receives into what is unfilled of `buffer`, without writing it first: zero-filling hyper's 8 KiB buffers costs twice
/// the instructions of all the rest of a request (measured). Says how many bytes came; 0 is the end of the stream.
#[allow(unsafe_code)]
pub(crate) fn receive(socket: BorrowedFd<'_>, buffer: &mut ReadBufCursor<'_>) -> Result<usize, Errno> {
    // SAFETY: `as_mut` asks that nothing is de-initialised; `recv` only writes bytes the kernel has initialised.
    let unfilled = unsafe { buffer.as_mut() };
    let ((filled, _), _) = recv(socket, unfilled, RecvFlags::empty())?;
    let count = filled.len();
    // SAFETY: rustix gives back as `filled` what the kernel wrote: the first `count` bytes of the unfilled part.
    unsafe { buffer.advance(count) };
    Ok(count)
}
