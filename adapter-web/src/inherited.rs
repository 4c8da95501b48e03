//! Listening sockets handed over by whoever started this process: systemd's `LISTEN_FDS`, systemfd.
//!
//! Reads and clears the environment variables, so it is called once, before there are other threads to race with. Sockets are
//! taken by their place in `LISTEN_FDS` or their name in `LISTEN_FDNAMES`; a descriptor that is not in there is nobody's to take.

use adapter_core::{Bind, ServeError};
use listenfd::ListenFd;

/// A socket that was handed over.
#[derive(Debug)]
struct Inherited {
    descriptor: usize,
    /// By `LISTEN_FDNAMES`, as in a unit's `FileDescriptorName=`; empty if it has none. Several may have the same.
    name: String,
    bind: Bind,
}

/// Where to listen by what was handed over, or `None` if that is as `configured`: those that `fd:` names, with the options behind
/// it, among the other addresses; without any, all that were handed over, in place of the addresses.
///
/// # Errors
/// [`ServeError::Bind`] for a descriptor that is no listening stream socket, and for an `fd:` that is not there: serving on
/// fewer sockets than the deployer passed would look like success.
pub(crate) fn take(configured: &[Bind]) -> Result<Option<Vec<Bind>>, ServeError> {
    let inherited = of_this_process()?;
    if configured.iter().any(|bind| matches!(bind.place(), Bind::Descriptor(_))) {
        let (binds, unused) = resolve(configured, inherited)?;
        if !unused.is_empty() {
            tracing::warn!(target: "adapter", "inherited, but no --bind names it: {}", told(&unused));
        }
        return Ok(Some(binds));
    }
    if inherited.is_empty() {
        return Ok(None);
    }
    if !configured.is_empty() {
        tracing::warn!(target: "adapter", "LISTEN_FDS is set; the addresses to bind are not used");
    }
    Ok(Some(inherited.into_iter().map(|inherited| inherited.bind).collect()))
}

/// All of them, in order.
fn of_this_process() -> Result<Vec<Inherited>, ServeError> {
    // Before the variables are cleared.
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut listeners = ListenFd::from_env();
    let mut all = Vec::with_capacity(listeners.len());
    for index in 0..listeners.len() {
        // SD_LISTEN_FDS_START
        let (descriptor, name) = (index + 3, names.split(':').nth(index).unwrap_or_default());
        let told = format!("{} (LISTEN_FDS)", tell(descriptor, name));
        let taken = match listeners.take_tcp_listener(index) {
            Ok(listener) => Ok(listener.map(Bind::from)),
            // What is no TCP socket is left in its place by the failed attempt.
            #[cfg(unix)]
            Err(_) => listeners.take_unix_listener(index).map(|listener| listener.map(Bind::from)),
            #[cfg(not(unix))]
            Err(error) => Err(error),
        };
        match taken {
            Ok(bind) => {
                all.extend(bind.map(|bind| Inherited { descriptor, name: name.into(), bind: bind.named(told) }));
            }
            Err(source) => return Err(ServeError::Bind { address: told, source }),
        }
    }
    Ok(all)
}

/// `configured` with sockets in place of descriptors, and those that nobody names. A name is all that have it.
fn resolve(configured: &[Bind], inherited: Vec<Inherited>) -> Result<(Vec<Bind>, Vec<Inherited>), ServeError> {
    let mut binds = Vec::with_capacity(configured.len());
    let (mut left, mut used) = (inherited, Vec::new());
    for bind in configured {
        let Bind::Descriptor(which) = bind.place() else {
            binds.push(bind.clone());
            continue;
        };
        let number = which.parse::<usize>().ok();
        let is = |one: &Inherited| number.map_or(one.name == *which, |number| one.descriptor == number);
        let (found, rest): (Vec<_>, Vec<_>) = left.into_iter().partition(is);
        left = rest;
        if found.is_empty() {
            let reason = if used.iter().any(is) {
                "another --bind has it already".into()
            } else if left.is_empty() && used.is_empty() {
                "nothing was inherited (LISTEN_FDS is not set for this process)".into()
            } else {
                left.append(&mut used);
                left.sort_by_key(|one| one.descriptor);
                format!("it is not among what was inherited: {}", told(&left))
            };
            return Err(ServeError::Bind { address: bind.to_string(), source: std::io::Error::other(reason) });
        }
        for one in found {
            binds.push(one.bind.clone().with_options(bind.options()));
            used.push(one);
        }
    }
    Ok((binds, left))
}

/// `descriptor 3 "http"`.
fn tell(descriptor: usize, name: &str) -> String {
    match name {
        "" => format!("descriptor {descriptor}"),
        name => format!("descriptor {descriptor} \"{}\"", name.escape_debug()),
    }
}

fn told(several: &[Inherited]) -> String {
    let told: Vec<_> = several.iter().map(|one| tell(one.descriptor, &one.name)).collect();
    told.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inherited(names: &[&str]) -> Vec<Inherited> {
        let listener = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let one = |(index, name): (usize, &&str)| Inherited {
            descriptor: index + 3,
            name: (*name).into(),
            bind: Bind::from(listener()).named(tell(index + 3, name)),
        };
        names.iter().enumerate().map(one).collect()
    }

    fn resolved(configured: &[&str], names: &[&str]) -> Result<(Vec<String>, String), String> {
        let configured: Vec<Bind> = configured.iter().map(|text| text.parse().unwrap()).collect();
        let (binds, unused) = resolve(&configured, inherited(names)).map_err(|error| error.to_string())?;
        Ok((binds.iter().map(ToString::to_string).collect(), told(&unused)))
    }

    #[test]
    fn descriptors_are_found_by_number_and_name() {
        let all = ["http", "https", ""];
        let (binds, unused) = resolved(&["fd:https,tls,proxy", "127.0.0.1:0", "fd:3"], &all).unwrap();
        assert_eq!(binds, ["descriptor 4 \"https\",tls,proxy", "127.0.0.1:0", "descriptor 3 \"http\""]);
        assert_eq!(unused, "descriptor 5");
        let (binds, _) = resolved(&["fd:web,keepalive=off"], &["web", "web"]).unwrap();
        assert_eq!(binds, ["descriptor 3 \"web\",keepalive=off", "descriptor 4 \"web\",keepalive=off"]);
    }

    #[test]
    fn what_is_not_there_is_told_with_what_is() {
        let says = "cannot listen on fd:htpp: it is not among what was inherited: descriptor 3 \"http\", descriptor 4";
        assert_eq!(resolved(&["fd:3", "fd:htpp"], &["http", ""]).unwrap_err(), says);
        let says = "cannot listen on fd:0: nothing was inherited (LISTEN_FDS is not set for this process)";
        assert_eq!(resolved(&["fd:0"], &[]).unwrap_err(), says);
        let says = "cannot listen on fd:http: another --bind has it already";
        assert_eq!(resolved(&["fd:3", "fd:http"], &["http"]).unwrap_err(), says);
    }

    #[test]
    fn descriptors_are_told_by_number_and_name() {
        assert_eq!(tell(3, ""), "descriptor 3");
        assert_eq!(tell(4, "we\nb"), "descriptor 4 \"we\\nb\"");
    }
}
