//! What the standalone process prints once it is ready.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::Config;
use super::demo::Demo;
use super::start::Started;

/// Says where everything is, and how to see a message arrive.
pub(crate) fn print(started: &Started, demo: &Demo, config: &Config, admin: Option<SocketAddr>) {
    let program = std::env::args().next().unwrap_or_else(|| "longline".to_owned());
    println!("{}", text(&program, started, demo, config, admin));
}

fn text(program: &str, started: &Started, demo: &Demo, config: &Config, admin: Option<SocketAddr>) -> String {
    let (http, room) = (reachable(started.http), reachable(started.room));
    let admin =
        admin.map_or_else(|| "nowhere".to_owned(), |a| format!("http://{a}  (/metrics, /healthz, /readyz)"));
    let (version, data) = (env!("CARGO_PKG_VERSION"), config.data.display());
    let Demo { id, name, key } = demo;
    let (dispatcher, keeper) = (started.dispatcher, started.keeper);
    let program = quoted(program);
    format!(
        "\
Longline {version} is ready, with all services in this process and its data in {data}.

  API         http://{http}  (HTTP and gRPC; /openapi.json)
  room        {room}
  dispatcher  http://{dispatcher}
  admin       {admin}
  keeper      {keeper}  (longline ctl)
  product     {name} (id {id})
  key         {key}
  admin key   in {data}/admin.key

Listen as alice in one terminal, and push to her in another:

  {program} listen --user alice --room {room}
  {program} push --user alice --api http://{http} --key {key} \"hello\"

Ctrl-C stops it.
"
    )
}

/// Where a client on this machine reaches a socket, also one that listens on every address.
pub(crate) fn reachable(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => (Ipv4Addr::LOCALHOST, v4.port()).into(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => (Ipv6Addr::LOCALHOST, v6.port()).into(),
        other => other,
    }
}

/// As a shell takes it for one word.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%".contains(c);
    if word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_are_reached_over_loopback() {
        for (address, there) in
            [("0.0.0.0:80", "127.0.0.1:80"), ("[::]:80", "[::1]:80"), ("10.0.0.1:80", "10.0.0.1:80")]
        {
            assert_eq!(reachable(address.parse().unwrap()).to_string(), there);
        }
    }

    #[test]
    fn a_path_with_spaces_can_be_pasted() {
        assert_eq!(quoted("target/release/longline"), "target/release/longline");
        assert_eq!(quoted("/my dir/it's"), r"'/my dir/it'\''s'");
    }
}
