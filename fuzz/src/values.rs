//! Values of the command line and of settings: whatever is read is said again in a way that is read as the same.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use adapter_web::cli::{OrOff, Period, Size};
use adapter_web::server::{Bind, ForwardedAlso, ForwardedFields, TrustedProxy};

/// Each line of `data` as each kind of value.
pub fn values(data: &[u8]) {
    for line in String::from_utf8_lossy(data).lines().take(64) {
        // The name of a host would be looked up.
        if [":", "unix:", "fd:", "127.0.0.1:", "[::1]:"].iter().any(|start| line.starts_with(start)) {
            binds(line);
        }
        again::<TrustedProxy>(line);
        again::<ForwardedFields>(line);
        again::<Period>(line);
        again::<Size>(line);
        again::<OrOff<Period>>(line);
        refused::<ForwardedAlso>(line);
    }
}

/// Addresses can't be compared, for one may hold a socket.
fn binds(text: &str) {
    if let Some(bind) = refused::<Bind>(text) {
        let said = bind.to_string();
        let read = refused::<Bind>(&said).map(|bind| (bind.to_string(), bind.options()));
        assert_eq!(read, Some((said, bind.options())), "{text:?}");
    }
}

fn again<T: FromStr<Err: Display> + Display + Debug + PartialEq>(text: &str) {
    if let Some(value) = refused::<T>(text) {
        let said = value.to_string();
        match said.parse::<T>() {
            Ok(read) => assert_eq!(read, value, "{text:?} is said as {said:?}"),
            Err(error) => panic!("{text:?} is said as {said:?}: {error}"),
        }
    }
}

/// A refusal is one plain line.
fn refused<T: FromStr<Err: Display>>(text: &str) -> Option<T> {
    let error = match text.parse() {
        Ok(value) => return Some(value),
        Err(error) => T::Err::to_string(&error),
    };
    assert!(!error.is_empty() && !error.contains(['\n', '\r']), "{error:?}");
    None
}
