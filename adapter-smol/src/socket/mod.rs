//! Sockets and who is told when they can be read and written: the one place of this crate that knows the operating system.
//!
//! Chosen when the crate is built. Linux and Android have `epoll`, everything else has `portable`, which is async-io's own, and which
//! `--cfg adapter_portable` takes on Linux too, so that it can be tested there. Both give the same:
//!
//! * [`Watch`]: what a server's sockets belong to; its `run` is a task that the server spawns.
//! * [`Listening`], [`Socket`]: polled by the tasks of listeners and connections, and after an upgrade by the application's.

#[cfg(all(any(target_os = "linux", target_os = "android"), not(adapter_portable)))]
mod epoll;
#[cfg(not(all(any(target_os = "linux", target_os = "android"), not(adapter_portable))))]
mod portable;

#[cfg(all(any(target_os = "linux", target_os = "android"), not(adapter_portable)))]
pub(crate) use self::epoll::{Listening, Socket, Watch};
#[cfg(not(all(any(target_os = "linux", target_os = "android"), not(adapter_portable))))]
pub(crate) use self::portable::{Listening, Socket, Watch};
