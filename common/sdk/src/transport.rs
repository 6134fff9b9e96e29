//! What carries the frames between device and room, and how an endpoint names it.

use std::fmt;
use std::str::FromStr;

/// What carries the frames.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Transport {
    /// TCP, in the clear.
    #[default]
    Tcp,
    /// TLS 1.3 or 1.2.
    Tls,
    /// WebSocket, in the clear.
    Ws,
    /// WebSocket inside TLS.
    Wss,
    /// Noise NK: encrypted, for a room whose public key is known.
    Noise,
}

/// No transport has this name.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0:?} is no transport: tcp, tls, ws, wss, noise")]
pub struct UnknownTransport(String);

impl Transport {
    /// Every transport.
    pub const ALL: [Transport; 5] =
        [Transport::Tcp, Transport::Tls, Transport::Ws, Transport::Wss, Transport::Noise];

    /// Its name, which is the scheme of an endpoint as well.
    pub const fn name(self) -> &'static str {
        match self {
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
            Transport::Ws => "ws",
            Transport::Wss => "wss",
            Transport::Noise => "noise",
        }
    }

    pub(crate) fn is_tls(self) -> bool {
        matches!(self, Transport::Tls | Transport::Wss)
    }

    pub(crate) fn is_websocket(self) -> bool {
        matches!(self, Transport::Ws | Transport::Wss)
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Transport {
    type Err = UnknownTransport;

    fn from_str(name: &str) -> Result<Transport, UnknownTransport> {
        Transport::ALL
            .into_iter()
            .find(|transport| transport.name() == name)
            .ok_or_else(|| UnknownTransport(name.to_owned()))
    }
}

/// An endpoint taken apart: `host:port`, or with a transport's name before it, as in `tls://host:port`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Target<'a> {
    pub(crate) transport: Transport,
    /// host:port, as a socket is connected to.
    pub(crate) address: &'a str,
}

impl<'a> Target<'a> {
    /// `usual` is the transport of an endpoint that names none.
    pub(crate) fn parse(endpoint: &'a str, usual: Transport) -> Result<Target<'a>, UnknownTransport> {
        match endpoint.split_once("://") {
            Some((scheme, rest)) => {
                Ok(Target { transport: scheme.parse()?, address: rest.trim_end_matches('/') })
            }
            None => Ok(Target { transport: usual, address: endpoint }),
        }
    }

    /// The host without its port and without the brackets of an IPv6 address.
    pub(crate) fn host(&self) -> &'a str {
        let host = self.address.rsplit_once(':').map_or(self.address, |(host, _)| host);
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_may_name_its_transport() {
        let parse = |endpoint| Target::parse(endpoint, Transport::Noise);
        assert_eq!(parse("a:1"), Ok(Target { transport: Transport::Noise, address: "a:1" }));
        assert_eq!(parse("tcp://a:1"), Ok(Target { transport: Transport::Tcp, address: "a:1" }));
        assert_eq!(parse("wss://[::1]:443/"), Ok(Target { transport: Transport::Wss, address: "[::1]:443" }));
        assert_eq!(parse("http://a:1"), Err(UnknownTransport("http".into())));
        for transport in Transport::ALL {
            assert_eq!(transport.to_string().parse(), Ok(transport));
        }
    }

    #[test]
    fn the_host_is_what_a_certificate_names() {
        let host = |endpoint| Target::parse(endpoint, Transport::Tls).unwrap().host();
        assert_eq!(host("room.example:9000"), "room.example");
        assert_eq!(host("tls://[2001:db8::1]:9000"), "2001:db8::1");
        assert_eq!(host("192.0.2.1:9000"), "192.0.2.1");
    }
}
