//! `--bind`: addresses separated by commas, each with its options behind it. Parsing a host name asks the resolver.

use std::str::FromStr;

use adapter_core::Bind;
use adapter_core::server::ParseBindError;

/// What one `--bind` says: one address, or several separated by commas, as in the variable `ADAPTER_BIND`, with blanks around
/// them or without. What has no colon is an option of the address before it.
///
/// ```
/// use adapter_web::cli::Binds;
///
/// let binds: Binds = "127.0.0.1:80, 127.0.0.1:443,tls,keepalive=30s,fd:web,unix:/run/x.sock,mode=0660".parse()?;
/// let told: Vec<_> = binds.0.iter().map(ToString::to_string).collect();
/// assert_eq!(told, ["127.0.0.1:80", "127.0.0.1:443,tls,keepalive=30s", "fd:web", "unix:/run/x.sock,mode=0660"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Binds(pub Vec<Bind>);

impl FromStr for Binds {
    type Err = ParseBindError;

    fn from_str(text: &str) -> Result<Self, ParseBindError> {
        let mut addresses: Vec<String> = Vec::new();
        for part in text.split(',').map(str::trim) {
            match addresses.last_mut() {
                Some(address) if !part.contains(':') => {
                    address.push(',');
                    address.push_str(part);
                }
                _ => addresses.push(part.to_owned()),
            }
        }
        addresses.iter().map(|address| address.parse()).collect::<Result<_, _>>().map(Binds)
    }
}

impl<T: Into<Bind>> From<T> for Binds {
    fn from(bind: T) -> Self {
        Binds(vec![bind.into()])
    }
}
