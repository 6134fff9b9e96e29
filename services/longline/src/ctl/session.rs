//! `longline ctl session`: what the cluster knows of one user's session now, or again every second.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::{Client, Url};
use serde::Deserialize;
use serde_json::Value;

use crate::api;
use crate::listen::{harmless, stop_signal};

/// How long the API may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Between two looks.
const AGAIN: Duration = Duration::from_secs(1);
/// Messages in flight that are shown; the others are counted.
const SHOWN: usize = 10;
/// Clears the terminal.
const CLEAR: &str = "\x1b[2J\x1b[H";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The user whose session it is
    user: String,
    /// The product's number
    #[arg(long, short, default_value_t = 1)]
    product: u32,
    /// Where the API is
    #[arg(long, env = "LONGLINE_API", value_name = "URL", default_value = "http://127.0.0.1:8080")]
    api: String,
    /// The operators' key
    #[arg(long, env = "LONGLINE_ADMIN_KEY", hide_env_values = true, value_name = "KEY")]
    admin_key: Option<String>,
    /// File with the operators' key
    #[arg(long, value_name = "FILE", conflicts_with = "admin_key")]
    admin_key_file: Option<PathBuf>,
    /// Show it again every second, until Ctrl-C
    #[arg(long, short)]
    watch: bool,
    /// Print a line of JSON, as the API answers
    #[arg(long)]
    json: bool,
}

/// Shows the session once, or until it is told to stop. A user who is offline has none, which is an answer too.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let key = admin_key(&args)?;
    let url = url(&args)?;
    let http = Client::builder().timeout(TIMEOUT).no_proxy().build()?;
    if !args.watch {
        return print(&look(&http, &url, &key, args.json).await?, false);
    }
    tokio::select! {
        ended = watch(&http, &url, &key, args.json) => ended,
        stopped = stop_signal() => stopped,
    }
}

async fn watch(http: &Client, url: &Url, key: &str, json: bool) -> anyhow::Result<()> {
    let mut ticks = tokio::time::interval(AGAIN);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let clears = !json && std::io::stdout().is_terminal();
    loop {
        ticks.tick().await;
        print(&look(http, url, key, json).await?, clears)?;
    }
}

/// What is to be printed.
async fn look(http: &Client, url: &Url, key: &str, json: bool) -> anyhow::Result<String> {
    let reply = http.get(url.clone()).bearer_auth(key).send().await;
    let reply = reply.with_context(|| format!("no answer from {url}"))?;
    let status = reply.status();
    let body = api::read(reply).await?;
    api::check(status, &body)?;
    let strange = || format!("the answer is not one of this API: {}", api::beginning(&body));
    if json {
        let value: Value = serde_json::from_slice(&body).with_context(strange)?;
        return Ok(format!("{value}\n"));
    }
    Ok(serde_json::from_slice::<Answer>(&body).with_context(strange)?.text())
}

fn print(text: &str, clears: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if clears {
        out.write_all(CLEAR.as_bytes())?;
    }
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

fn admin_key(args: &Args) -> anyhow::Result<String> {
    match (&args.admin_key, &args.admin_key_file) {
        (Some(key), _) => Ok(key.clone()),
        (None, Some(file)) => {
            let key =
                std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
            Ok(key.trim().to_owned())
        }
        (None, None) => {
            bail!(
                "the operators' key is needed: --admin-key-file FILE (standalone: admin.key in its data folder)"
            )
        }
    }
}

/// A user's name may hold anything, slashes too.
fn url(args: &Args) -> anyhow::Result<Url> {
    let mut url = Url::parse(&args.api).with_context(|| format!("`{}` is no URL", args.api))?;
    let product = args.product.to_string();
    url.path_segments_mut()
        .map_err(|()| anyhow::anyhow!("`{}` is no URL of an API", args.api))?
        .pop_if_empty()
        .extend(["v1", "admin", "products", &product, "users", &args.user, "session"]);
    Ok(url)
}

/// What the API answers. What a newer center adds is passed over.
#[derive(Deserialize)]
struct Answer {
    product: u32,
    user: String,
    presence: String,
    waiting: u64,
    session: Option<Session>,
}

#[derive(Deserialize)]
struct Session {
    id: String,
    room: u32,
    room_endpoint: String,
    peer: String,
    transport: String,
    state: String,
    device: String,
    sdk: String,
    platform: String,
    network: String,
    connected_at: String,
    heartbeat_s: u32,
    last_seen: String,
    silent_ms: u64,
    binds: u32,
    dirty: bool,
    loading: bool,
    stalled: bool,
    window: u32,
    in_flight: Vec<InFlight>,
    unconfirmed: u32,
    unwritten_bytes: u64,
    frames_left: u32,
}

#[derive(Deserialize)]
struct InFlight {
    id: String,
    age_ms: u64,
}

impl Answer {
    fn text(&self) -> String {
        let Answer { product, user, presence, waiting, session } = self;
        let mut text =
            format!("{} of product {product} is {presence}; {waiting} messages wait\n", harmless(user));
        if let Some(session) = session {
            for (name, value) in session.lines() {
                // A String takes whatever is written.
                let _ = writeln!(text, "  {name:<12} {}", harmless(&value));
            }
        }
        text
    }
}

impl Session {
    fn lines(&self) -> Vec<(&'static str, String)> {
        let inbox = [(self.dirty, "to be loaded"), (self.loading, "loading"), (self.stalled, "stalled")];
        let mut inbox: Vec<&str> = inbox.iter().filter(|(is, _)| *is).map(|(_, word)| *word).collect();
        if inbox.is_empty() {
            inbox.push("clean");
        }
        let mut lines = vec![
            ("session", format!("{} ({}), {} binds", self.id, self.state, self.binds)),
            ("room", format!("{} at {}", self.room, self.room_endpoint)),
            ("address", format!("{} over {}", self.peer, self.transport)),
            ("device", self.device.clone()),
            ("sdk", self.sdk.clone()),
            ("platform", self.platform.clone()),
            ("network", self.network.clone()),
            ("connected", self.connected_at.clone()),
            ("last seen", format!("{} ({} ago)", self.last_seen, age(self.silent_ms))),
            ("heartbeat", format!("{} s", self.heartbeat_s)),
            ("inbox", inbox.join(", ")),
            ("window", format!("{} of {} in flight", self.in_flight.len(), self.window)),
            ("unconfirmed", format!("{} acknowledged and not confirmed", self.unconfirmed)),
            ("unwritten", format!("{} bytes", self.unwritten_bytes)),
            ("frames left", self.frames_left.to_string()),
        ];
        let oldest = self.in_flight.iter().take(SHOWN);
        lines.extend(oldest.map(|m| ("in flight", format!("{} for {}", m.id, age(m.age_ms)))));
        if self.in_flight.len() > SHOWN {
            lines.push(("", format!("and {} others", self.in_flight.len() - SHOWN)));
        }
        lines
    }
}

fn age(ms: u64) -> String {
    match ms {
        0..120_000 => format!("{:.1} s", ms as f64 / 1000.0),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        _ => format!("{} h", ms / 3_600_000),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;

    #[derive(Parser)]
    struct Tool {
        #[command(flatten)]
        args: Args,
    }

    fn parse(words: &[&str]) -> Args {
        Tool::try_parse_from(["session"].iter().chain(words)).map(|tool| tool.args).unwrap()
    }

    #[test]
    fn any_user_of_any_product_can_be_asked_for() {
        let args = parse(&["a/b ü?", "--product", "7", "--api", "http://c:1/base/"]);
        let expected = "http://c:1/base/v1/admin/products/7/users/a%2Fb%20%C3%BC%3F/session";
        assert_eq!(url(&args).unwrap().as_str(), expected);
        assert!(url(&parse(&["a", "--api", "mailto:me"])).is_err());
    }

    #[test]
    fn a_key_is_needed_and_a_file_may_have_it() {
        let said = admin_key(&Args { admin_key: None, ..parse(&["a"]) }).unwrap_err().to_string();
        assert!(said.contains("--admin-key-file"), "{said}");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "secret\n").unwrap();
        let args = parse(&["a", "--admin-key-file", file.path().to_str().unwrap()]);
        assert_eq!(admin_key(&Args { admin_key: None, ..args }).unwrap(), "secret");
    }

    #[test]
    fn a_session_is_shown_line_by_line() {
        let in_flight: Vec<Value> = (0..12).map(|id| json!({"id": id.to_string(), "age_ms": 1500})).collect();
        let answer: Answer = serde_json::from_value(json!({
            "product": 1, "user": "alice\u{1b}", "presence": "online", "waiting": 3, "session": {
                "id": "2a", "room": 4, "room_endpoint": "r:9000", "peer": "192.0.2.1:5", "transport": "tls",
                "state": "open", "device": "phone", "sdk": "rust/0.1.0", "platform": "android 16", "network": "4g",
                "connected_at": "2025-01-01T00:00:00.000Z", "heartbeat_s": 240, "last_seen": "2025-01-01T01:00:00.000Z",
                "silent_ms": 300_000, "binds": 2, "dirty": true, "loading": true, "stalled": false, "window": 16,
                "in_flight": in_flight, "unconfirmed": 1, "unwritten_bytes": 7, "frames_left": 500, "new": "?"
            }
        }))
        .unwrap();
        let text = answer.text();
        assert!(text.starts_with("alice\\u{1b} of product 1 is online; 3 messages wait\n"), "{text}");
        for line in [
            "  session      2a (open), 2 binds",
            "  address      192.0.2.1:5 over tls",
            "  last seen    2025-01-01T01:00:00.000Z (5 min ago)",
            "  inbox        to be loaded, loading",
            "  window       12 of 16 in flight",
            "  in flight    9 for 1.5 s",
            "               and 2 others",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\nin\n{text}");
        }
        let offline = json!({"product": 1, "user": "bob", "presence": "offline", "waiting": 0});
        let offline: Answer = serde_json::from_value(offline).unwrap();
        assert_eq!(offline.text(), "bob of product 1 is offline; 0 messages wait\n");
    }
}
