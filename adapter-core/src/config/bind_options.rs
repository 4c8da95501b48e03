//! What one listener alone is told, as it is written behind its address: `,mode=0660,group=www`. Pure parsing.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What holds for one listener only. What is `None` is as the server or the operating system has it.
///
/// Written behind an address, separated by commas: `tls`, `proxy`, `mode=0660`, `group=NAME` or a number, `backlog=N`,
/// `keepalive=TIME` or `off`, `user-timeout=TIME`. A time is a whole number and `ms`, `s`, `m` or `h`; a number alone is seconds. Of
/// what is said twice, the last holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BindOptions {
    /// Whether connections begin with a TLS handshake, by [`ServerConfig::tls`](crate::ServerConfig::tls).
    pub tls: bool,
    /// Whether connections begin with the header of the PROXY protocol, from the proxies of
    /// [`ServerConfig::proxy_protocol_from`](crate::ServerConfig::proxy_protocol_from) (\[PRX-01\]).
    pub proxy: bool,
    /// Permissions of a Unix-domain socket's path, `0o777` at most. Who may write may connect. Default: what the umask leaves.
    pub mode: Option<u32>,
    /// The group a Unix-domain socket's path belongs to, by name or number. The process must be in it, or be root. Default: the
    /// process's.
    pub group: Option<Arc<str>>,
    /// Connections the kernel may queue until they are accepted; it caps this at its own `somaxconn`. Default: 4096.
    pub backlog: Option<u32>,
    /// Whether the kernel asks clients that are silent if they are still there; TCP only. Default: after 60 s.
    pub keep_alive: Option<KeepAlive>,
    /// How long what was sent, or asked by [`keep_alive`](Self::keep_alive), may stay without an answer of the client's kernel until the
    /// connection is given up, from 1 ms (TCP_USER_TIMEOUT; Linux). TCP only. Default: the kernel's, about 15 minutes for what was
    /// sent.
    pub user_timeout: Option<Duration>,
}

/// When the kernel asks a client that is silent if it is still there (SO_KEEPALIVE).
///
/// Without it, a client whose machine or network is gone holds a quiet connection that no timeout ends (a WebSocket, a
/// stream of events) for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeepAlive {
    /// Never.
    Off,
    /// After that much silence, in whole seconds from 1 to 32767; then every quarter of it, 15 s at most. After four questions without
    /// an answer the connection is closed.
    After(Duration),
}

/// What the kernel takes (MAX_TCP_KEEPIDLE of Linux).
const MOST_SILENCE: Duration = Duration::from_secs(32_767);
/// What the kernel takes: milliseconds in an `int`.
const MOST_USER_TIMEOUT: Duration = Duration::from_millis(i32::MAX as u64);

impl KeepAlive {
    /// What holds where nothing is said.
    pub const DEFAULT: KeepAlive = KeepAlive::After(Duration::from_secs(60));
    /// How many questions may stay without an answer.
    pub const PROBES: u32 = 4;

    /// How long to wait for the answer to a question, where any are asked.
    pub fn interval(self) -> Option<Duration> {
        match self {
            KeepAlive::Off => None,
            KeepAlive::After(silence) => Some(Duration::from_secs((silence.as_secs() / 4).clamp(1, 15))),
        }
    }
}

impl BindOptions {
    /// Their names, behind an address.
    const NAMES: &str = "tls, proxy, mode=0660, group=NAME, backlog=N, keepalive=TIME or off, user-timeout=TIME";

    /// With the option that `text` says.
    pub(super) fn read(&mut self, text: &str) -> Result<(), String> {
        let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
        let wants = |what: &str| format!("{name} is {what}, as in {name}=");
        match (name, value) {
            ("tls", None) => self.tls = true,
            ("proxy", None) => self.proxy = true,
            ("mode", value) => {
                let mode = value.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()));
                let mode = mode.and_then(|digits| u32::from_str_radix(digits, 8).ok()).filter(|mode| *mode <= 0o777);
                self.mode = Some(mode.ok_or_else(|| wants("octal and 0777 at most") + "0660")?);
            }
            ("group", value) => {
                let group = value.filter(|group| !group.is_empty());
                self.group = Some(group.ok_or_else(|| wants("a name or a number") + "www-data")?.into());
            }
            ("backlog", value) => {
                let backlog = value.and_then(number).and_then(|backlog| i32::try_from(backlog).ok());
                let backlog = backlog.filter(|backlog| *backlog > 0);
                self.backlog =
                    Some(backlog.ok_or_else(|| wants("a number from 1 to 2147483647") + "1024")?.unsigned_abs());
            }
            ("keepalive", Some("off")) => self.keep_alive = Some(KeepAlive::Off),
            ("keepalive", value) => {
                let silence = value.and_then(time).map(KeepAlive::After).filter(|keep_alive| is_possible(*keep_alive));
                self.keep_alive =
                    Some(silence.ok_or_else(|| wants("off, or whole seconds from 1s to 32767s") + "60s")?);
            }
            ("user-timeout", value) => {
                let timeout =
                    value.and_then(time).filter(|timeout| !timeout.is_zero() && *timeout <= MOST_USER_TIMEOUT);
                self.user_timeout = Some(timeout.ok_or_else(|| wants("a time from 1ms to 596h") + "30s")?);
            }
            _ => return Err(format!("there is no option {text:?}, only {}", Self::NAMES)),
        }
        Ok(())
    }

    /// With those of `more`, which come first.
    pub(super) fn and(self, more: Self) -> Self {
        BindOptions {
            tls: self.tls || more.tls,
            proxy: self.proxy || more.proxy,
            mode: more.mode.or(self.mode),
            group: more.group.or(self.group),
            backlog: more.backlog.or(self.backlog),
            keep_alive: more.keep_alive.or(self.keep_alive),
            user_timeout: more.user_timeout.or(self.user_timeout),
        }
    }

    /// Those that still say something of a socket that listens already: all but `mode`, `group` and `backlog`. With them a
    /// successor can serve it on.
    #[must_use]
    pub fn once_bound(self) -> Self {
        BindOptions { mode: None, group: None, backlog: None, ..self }
    }

    /// The first that only a Unix-domain socket has.
    pub(super) fn of_paths(&self) -> Option<&'static str> {
        self.mode.map(|_| "mode").or(self.group.as_ref().map(|_| "group"))
    }

    /// The first that only a TCP socket has.
    pub fn of_tcp(&self) -> Option<&'static str> {
        self.keep_alive.map(|_| "keepalive").or(self.user_timeout.map(|_| "user-timeout"))
    }

    /// What is wrong with their values, which may be a program's.
    pub(super) fn fault(&self) -> Option<&'static str> {
        if self.mode.is_some_and(|mode| mode > 0o777) {
            return Some("mode is more than 0777");
        }
        if self.group.as_ref().is_some_and(|group| group.is_empty()) {
            return Some("group is empty");
        }
        if self.backlog.is_some_and(|backlog| backlog == 0 || i32::try_from(backlog).is_err()) {
            return Some("backlog is not from 1 to 2147483647");
        }
        if self.keep_alive.is_some_and(|keep_alive| !is_possible(keep_alive)) {
            return Some("keepalive is not whole seconds from 1 to 32767");
        }
        let fits = |timeout: Duration| (1..=MOST_USER_TIMEOUT.as_millis()).contains(&timeout.as_millis());
        if self.user_timeout.is_some_and(|timeout| !fits(timeout)) {
            return Some("user-timeout is not from 1ms to 596h");
        }
        None
    }
}

impl fmt::Display for BindOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BindOptions { tls, proxy, mode, group, backlog, keep_alive, user_timeout } = self;
        f.write_str(if *tls { ",tls" } else { "" })?;
        f.write_str(if *proxy { ",proxy" } else { "" })?;
        if let Some(mode) = mode {
            write!(f, ",mode={mode:04o}")?;
        }
        if let Some(group) = group {
            write!(f, ",group={group}")?;
        }
        if let Some(backlog) = backlog {
            write!(f, ",backlog={backlog}")?;
        }
        match keep_alive {
            Some(KeepAlive::Off) => f.write_str(",keepalive=off")?,
            Some(KeepAlive::After(silence)) => write!(f, ",keepalive={}s", silence.as_secs())?,
            None => {}
        }
        match user_timeout {
            Some(timeout) if timeout.subsec_millis() == 0 => write!(f, ",user-timeout={}s", timeout.as_secs()),
            Some(timeout) => write!(f, ",user-timeout={}ms", timeout.as_millis()),
            None => Ok(()),
        }
    }
}

/// Whether the kernel takes it as it is.
fn is_possible(keep_alive: KeepAlive) -> bool {
    match keep_alive {
        KeepAlive::Off => true,
        KeepAlive::After(silence) => {
            silence.subsec_nanos() == 0 && (Duration::from_secs(1)..=MOST_SILENCE).contains(&silence)
        }
    }
}

/// Digits alone: no sign.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// A whole number and a unit.
fn time(text: &str) -> Option<Duration> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (count, unit) = text.split_at(end);
    let count = number(count)?;
    match unit {
        "ms" => Some(Duration::from_millis(count)),
        "" | "s" => Some(Duration::from_secs(count)),
        "m" => count.checked_mul(60).map(Duration::from_secs),
        "h" => count.checked_mul(3600).map(Duration::from_secs),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<BindOptions, String> {
        let mut options = BindOptions::default();
        text.split(',').try_for_each(|option| options.read(option)).map(|()| options)
    }

    #[test]
    fn values_are_read_and_told() {
        for (text, told) in [
            ("mode=660", ",mode=0660"),
            ("group=www-data,mode=0777", ",mode=0777,group=www-data"),
            ("group=33", ",group=33"),
            ("backlog=128,tls", ",tls,backlog=128"),
            ("keepalive=2m", ",keepalive=120s"),
            ("keepalive=30,keepalive=off", ",keepalive=off"),
            ("user-timeout=1500ms", ",user-timeout=1500ms"),
            ("user-timeout=596h", ",user-timeout=2145600s"),
        ] {
            let options = read(text).unwrap();
            assert_eq!((options.to_string().as_str(), options.fault()), (told, None));
            assert_eq!(read(&told[1..]).unwrap(), options);
        }
    }

    #[test]
    fn bad_values_are_told_with_a_good_one() {
        for bad in ["mode", "mode=", "mode=+7", "mode=0888", "mode=1777", "mode=u+w", "mode=77777777777777777777"] {
            assert_eq!(read(bad).unwrap_err(), "mode is octal and 0777 at most, as in mode=0660", "{bad}");
        }
        assert_eq!(read("group=").unwrap_err(), "group is a name or a number, as in group=www-data");
        for bad in ["backlog", "backlog=0", "backlog=-1", "backlog=+1", "backlog=2147483648"] {
            assert_eq!(read(bad).unwrap_err(), "backlog is a number from 1 to 2147483647, as in backlog=1024", "{bad}");
        }
        let says = "keepalive is off, or whole seconds from 1s to 32767s, as in keepalive=60s";
        for bad in ["keepalive", "keepalive=0", "keepalive=1500ms", "keepalive=10h", "keepalive=1.5s", "keepalive=on"] {
            assert_eq!(read(bad).unwrap_err(), says, "{bad}");
        }
        for bad in ["user-timeout", "user-timeout=0", "user-timeout=off", "user-timeout=18446744073709551615h"] {
            assert_eq!(
                read(bad).unwrap_err(),
                "user-timeout is a time from 1ms to 596h, as in user-timeout=30s",
                "{bad}"
            );
        }
        assert!(read("tls=yes").unwrap_err().starts_with("there is no option \"tls=yes\", only tls, proxy, mode=0660"));
    }

    #[test]
    fn a_programs_values_are_looked_at_too() {
        let mut options = BindOptions { mode: Some(0o4755), ..BindOptions::default() };
        assert_eq!(options.fault(), Some("mode is more than 0777"));
        options =
            BindOptions { keep_alive: Some(KeepAlive::After(Duration::from_millis(1))), ..BindOptions::default() };
        assert!(options.fault().is_some());
        options = BindOptions { user_timeout: Some(Duration::from_micros(1)), ..BindOptions::default() };
        assert!(options.fault().is_some());
    }

    #[test]
    fn questions_come_every_quarter() {
        let interval = |seconds| KeepAlive::After(Duration::from_secs(seconds)).interval().map(|it| it.as_secs());
        assert_eq!([1, 20, 60, 7200].map(interval), [Some(1), Some(5), Some(15), Some(15)]);
        assert_eq!(KeepAlive::Off.interval(), None);
    }

    proptest! {
        #[test]
        fn what_is_read_is_told_and_read_again(text in "(tls|proxy|(mode|group|backlog|keepalive|user-timeout)=[0-9a-z]{0,8}|.{0,9})") {
            if let Ok(options) = read(&text) {
                prop_assert_eq!(options.fault(), None);
                prop_assert_eq!(read(&options.to_string()[1..]), Ok(options));
            }
        }
    }
}
