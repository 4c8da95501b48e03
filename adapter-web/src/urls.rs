//! Where a server listens, as people open it.

use adapter_core::{Bind, ListenAddr, ServerInfo};

/// What to say when the server of `info` listens on `addresses`, which are where `binds` were bound, in order: a line for each.
pub(crate) fn lines(info: &ServerInfo, binds: &[Bind], addresses: &[ListenAddr], prefix: &str) -> Vec<String> {
    let line = |(address, marks)| {
        let url = describe(address, addresses, prefix, &info.protocol, marks);
        format!("adapter: {} {} listening on {url}\n", info.name, info.version)
    };
    addresses.iter().zip(marks(binds, addresses)).map(line).collect()
}

/// What is spoken in front of HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Marks {
    tls: bool,
    proxy: bool,
}

/// For each of `addresses`, which are where `binds` were bound, in order, how it is marked.
fn marks(binds: &[Bind], addresses: &[ListenAddr]) -> Vec<Marks> {
    let mut marks = Vec::with_capacity(addresses.len());
    for bind in binds {
        let own = Marks { tls: bind.options().tls, proxy: bind.options().proxy };
        match bind.place() {
            // As many of its addresses as this machine has, one at least.
            Bind::Host { addrs, .. } => {
                let rest = addresses.iter().skip(marks.len()).filter_map(ListenAddr::tcp);
                let of_host =
                    rest.take(addrs.len()).take_while(|bound| addrs.iter().any(|addr| addr.ip() == bound.ip()));
                let count = of_host.count();
                marks.resize(marks.len() + count.max(1), own);
            }
            _ => marks.push(own),
        }
    }
    marks.resize(addresses.len(), Marks::default());
    marks
}

/// What to open in a browser, or the path of the socket: `address`, which is one of `all`. No browser opens one with the PROXY
/// protocol, which is told behind it.
fn describe(address: &ListenAddr, all: &[ListenAddr], prefix: &str, protocol: &str, marks: Marks) -> String {
    let proxy = if marks.proxy { ",proxy" } else { "" };
    let scheme = if marks.tls { "https" } else { protocol };
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
            format!("{scheme}://{host}:{port}{prefix}{proxy} ({which}: {bound})")
        }
        ListenAddr::Tcp(bound) => format!("{scheme}://{bound}{prefix}{proxy}"),
        other => format!("{other}{}{proxy}", if marks.tls { ",tls" } else { "" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Marks = Marks { tls: false, proxy: false };
    const TLS: Marks = Marks { tls: true, proxy: false };

    #[test]
    fn addresses_are_told_as_urls() {
        let tcp = |text: &str| ListenAddr::Tcp(text.parse().expect("an address"));
        assert_eq!(describe(&tcp("127.0.0.1:80"), &[], "", "http", PLAIN), "http://127.0.0.1:80");
        assert_eq!(describe(&tcp("[::1]:80"), &[], "/shop", "http", PLAIN), "http://[::1]:80/shop");
        let every = tcp("[::]:80");
        assert_eq!(
            describe(&every, std::slice::from_ref(&every), "", "http", PLAIN),
            "http://localhost:80 (every interface: [::]:80)"
        );
        let both = [tcp("0.0.0.0:80"), every];
        let told = both.each_ref().map(|address| describe(address, &both, "/x", "http", PLAIN));
        assert_eq!(told[0], "http://127.0.0.1:80/x (every interface, IPv4: 0.0.0.0:80)");
        assert_eq!(told[1], "http://[::1]:80/x (every interface, IPv6: [::]:80)");
        let unix = ListenAddr::Unix("/run/x".into());
        assert_eq!(describe(&unix, &[], "/shop", "http", PLAIN), "unix:/run/x");
        assert_eq!(describe(&unix, &[], "/shop", "http", TLS), "unix:/run/x,tls");
        assert_eq!(describe(&tcp("[::1]:443"), &[], "/shop", "http", TLS), "https://[::1]:443/shop");
        assert_eq!(
            describe(&both[0], &both, "", "http", TLS),
            "https://127.0.0.1:80 (every interface, IPv4: 0.0.0.0:80)"
        );
    }

    #[test]
    fn the_proxy_protocol_is_told_behind_the_address() {
        let marked = |tls| Marks { tls, proxy: true };
        let told = |text: &str, tls| {
            let address = text.parse().map_or(ListenAddr::Unix(text.into()), ListenAddr::Tcp);
            describe(&address, std::slice::from_ref(&address), "", "http", marked(tls))
        };
        assert_eq!(told("127.0.0.1:80", false), "http://127.0.0.1:80,proxy");
        assert_eq!(told("0.0.0.0:443", true), "https://127.0.0.1:443,proxy (every interface, IPv4: 0.0.0.0:443)");
        assert_eq!(told("/run/x", true), "unix:/run/x,tls,proxy");
    }

    #[test]
    fn addresses_are_secure_as_they_were_bound() {
        let told = |binds: &[&str], addresses: &[&str]| {
            let binds: Vec<Bind> = binds.iter().map(|text| text.parse().expect("a bind")).collect();
            let addresses: Vec<_> = addresses
                .iter()
                .map(|text| text.parse().map_or(ListenAddr::Unix(text.into()), ListenAddr::Tcp))
                .collect();
            marks(&binds, &addresses).iter().map(|marks| marks.tls).collect::<Vec<_>>()
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
