//! Where a server listens, as people open it.

use adapter_core::{Bind, ListenAddr, ServerInfo};

/// What to say when the server of `info` listens on `addresses`, which are where `binds` were bound, in order: a line for each.
pub(crate) fn lines(info: &ServerInfo, binds: &[Bind], addresses: &[ListenAddr], prefix: &str) -> Vec<String> {
    let line = |(address, secure)| {
        let protocol = if secure { "https" } else { &info.protocol };
        let url = describe(address, addresses, prefix, protocol);
        format!("adapter: {} {} listening on {url}\n", info.name, info.version)
    };
    addresses.iter().zip(secure(binds, addresses)).map(line).collect()
}

/// For each of `addresses`, which are where `binds` were bound, in order, whether it has TLS.
fn secure(binds: &[Bind], addresses: &[ListenAddr]) -> Vec<bool> {
    let mut secure = Vec::with_capacity(addresses.len());
    for bind in binds {
        let tls = bind.options().tls;
        match bind.place() {
            // As many of its addresses as this machine has, one at least.
            Bind::Host { addrs, .. } => {
                let rest = addresses.iter().skip(secure.len()).filter_map(ListenAddr::tcp);
                let of_host =
                    rest.take(addrs.len()).take_while(|bound| addrs.iter().any(|addr| addr.ip() == bound.ip()));
                let count = of_host.count();
                secure.resize(secure.len() + count.max(1), tls);
            }
            _ => secure.push(tls),
        }
    }
    secure.resize(addresses.len(), false);
    secure
}

/// What to open in a browser, or the path of the socket: `address`, which is one of `all`, and where `scheme` is spoken.
fn describe(address: &ListenAddr, all: &[ListenAddr], prefix: &str, scheme: &str) -> String {
    match address {
        ListenAddr::Tcp(bound) if bound.ip().is_unspecified() => {
            let port = bound.port();
            // [::] takes IPv4 too, where no address of IPv4 has the port to itself.
            let beside = all.iter().filter_map(ListenAddr::tcp).any(|other| other.is_ipv4() && other.port() == port);
            let (host, which) = match (bound.is_ipv4(), beside) {
                (true, _) => ("127.0.0.1", "every interface, IPv4"),
                (false, true) => ("[::1]", "every interface, IPv6"),
                (false, false) => ("localhost", "every interface"),
            };
            format!("{scheme}://{host}:{port}{prefix} ({which}: {bound})")
        }
        ListenAddr::Tcp(bound) => format!("{scheme}://{bound}{prefix}"),
        other if scheme == "https" => format!("{other},tls"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_as_urls() {
        let tcp = |text: &str| ListenAddr::Tcp(text.parse().expect("an address"));
        assert_eq!(describe(&tcp("127.0.0.1:80"), &[], "", "http"), "http://127.0.0.1:80");
        assert_eq!(describe(&tcp("[::1]:80"), &[], "/shop", "http"), "http://[::1]:80/shop");
        let every = tcp("[::]:80");
        assert_eq!(
            describe(&every, std::slice::from_ref(&every), "", "http"),
            "http://localhost:80 (every interface: [::]:80)"
        );
        let both = [tcp("0.0.0.0:80"), every];
        let told = both.each_ref().map(|address| describe(address, &both, "/x", "http"));
        assert_eq!(told[0], "http://127.0.0.1:80/x (every interface, IPv4: 0.0.0.0:80)");
        assert_eq!(told[1], "http://[::1]:80/x (every interface, IPv6: [::]:80)");
        let unix = ListenAddr::Unix("/run/x".into());
        assert_eq!(describe(&unix, &[], "/shop", "http"), "unix:/run/x");
        assert_eq!(describe(&unix, &[], "/shop", "https"), "unix:/run/x,tls");
        assert_eq!(describe(&tcp("[::1]:443"), &[], "/shop", "https"), "https://[::1]:443/shop");
        assert_eq!(describe(&both[0], &both, "", "https"), "https://127.0.0.1:80 (every interface, IPv4: 0.0.0.0:80)");
    }

    #[test]
    fn addresses_are_secure_as_they_were_bound() {
        let told = |binds: &[&str], addresses: &[&str]| {
            let binds: Vec<Bind> = binds.iter().map(|text| text.parse().expect("a bind")).collect();
            let addresses: Vec<_> = addresses
                .iter()
                .map(|text| text.parse().map_or(ListenAddr::Unix(text.into()), ListenAddr::Tcp))
                .collect();
            secure(&binds, &addresses)
        };
        let addresses = ["127.0.0.1:80", "[::1]:80", "127.0.0.1:443"];
        assert_eq!(told(&["localhost:80,tls", "127.0.0.1:443"], &addresses), [true, true, false]);
        assert_eq!(told(&["localhost:80", "127.0.0.1:443,tls"], &addresses), [false, false, true]);
        // Where there is no IPv6.
        assert_eq!(told(&["localhost:80", ":81,tls"], &["127.0.0.1:80", "0.0.0.0:81"]), [false, true]);
        assert_eq!(told(&["unix:/x,tls", "localhost:1"], &["/x", "[::1]:1"]), [true, false]);
        assert_eq!(told(&["localhost:1"], &[]), [false; 0]);
    }
}
