//! `longline listen`: a device that prints what it is sent.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use longline_sdk::{BindId, Client, Event, Events, Message, Transport};
use serde_json::{Value, json};

/// Longest time that a line of standard input may take to be safe with the business.
const UPLINK_WITHIN: std::time::Duration = std::time::Duration::from_secs(30);

/// Who listens, where, and how it is printed.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The user to listen as
    #[arg(long, short)]
    user: String,
    /// The product's number
    #[arg(long, short, default_value_t = 1)]
    product: u32,
    /// Ask the dispatcher at this URL for a room
    #[arg(long, value_name = "URL", conflicts_with = "room")]
    dispatcher: Option<String>,
    /// Connect to this room; tls://HOST:PORT and the like name the transport as well
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9000")]
    room: String,
    /// What carries the frames to rooms that name none: tcp, tls, ws, wss or noise
    #[arg(long, default_value_t = Transport::Tcp)]
    transport: Transport,
    /// Over TLS, trust the certificates in this PEM file instead of the system's
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Over TLS, the name in the room's certificate; the room's host by default
    #[arg(long, value_name = "NAME")]
    tls_name: Option<String>,
    /// Over Noise, the room's public key, in base64; by default the dispatcher's word
    #[arg(long, value_name = "KEY")]
    noise_key: Option<String>,
    /// The product's token for the user, if it wants one
    #[arg(long, env = "LONGLINE_TOKEN", hide_env_values = true, default_value = "")]
    token: String,
    /// Print each message as a line of JSON
    #[arg(long)]
    json: bool,
    /// Never acknowledge: what is printed stays in the inbox
    #[arg(long)]
    no_ack: bool,
    /// This device's id; a new one each time by default
    #[arg(long)]
    device: Option<String>,
    /// File in which the device's connection counter is kept
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// End after this many messages
    #[arg(long)]
    count: Option<u64>,
    /// Send each line of standard input to the business, under this route number
    #[arg(long, value_name = "ROUTE")]
    uplink: Option<u32>,
}

/// Listens until `--count` messages are printed and acknowledged, until it is told to stop, or until the room closes the device for
/// good, which is an error.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let (client, mut events) = start(&args)?;
    let ended = tokio::select! {
        ended = print_events(&args, &client, &mut events) => ended,
        stopped = stop_signal() => stopped,
    };
    client.close().await;
    ended
}

fn start(args: &Args) -> anyhow::Result<(Client, Events)> {
    let device = args.device.clone().unwrap_or_else(|| format!("listen-{:016x}", rand::random::<u64>()));
    let mut builder = Client::builder(device).bind(args.product, &args.user, args.token.as_str());
    builder = match &args.dispatcher {
        Some(url) => builder.dispatcher(url),
        None => builder.rooms([&args.room]),
    };
    if let Some(path) = &args.state {
        builder = builder.state_file(path);
    }
    builder = builder.transport(args.transport);
    if let Some(path) = &args.ca {
        builder = builder.ca_file(path);
    }
    if let Some(name) = &args.tls_name {
        builder = builder.tls_name(name);
    }
    if let Some(key) = &args.noise_key {
        builder = builder.noise_key(key);
    }
    builder = if args.no_ack { builder.never_ack() } else { builder.auto_ack(false) };
    Ok(builder.start()?)
}

async fn print_events(args: &Args, client: &Client, events: &mut Events) -> anyhow::Result<()> {
    let mut left = args.count;
    let mut uplink = args.uplink;
    while left != Some(0) {
        match events.recv().await.context("the device has ended")? {
            Event::Message(message) => {
                // Printed, then acknowledged: what nobody could read is not safe.
                if print(&message, args.json).is_err() {
                    return Ok(());
                }
                client.ack(&message).await?;
                left = left.map(|n| n.saturating_sub(1));
            }
            Event::Bound { bind, address, .. } => {
                eprintln!("bound: user {} of product {}", address.user, address.product);
                if let Some(route) = uplink.take() {
                    tokio::spawn(send_lines(client.clone(), bind, route));
                }
            }
            Event::Closed(reason) => bail!("closed for good: {reason}"),
            other => report(&other),
        }
    }
    Ok(())
}

/// Says on standard error what happens to the connection.
fn report(event: &Event) {
    match event {
        Event::Connected { endpoint, resumed: false, .. } => eprintln!("connected to {endpoint}"),
        Event::Connected { endpoint, .. } => eprintln!("connected to {endpoint}: the session goes on"),
        Event::ConnectFailed { endpoint, reason } => eprintln!("no connection to {endpoint}: {reason}"),
        Event::Disconnected { reason, retry_in } => {
            eprintln!("disconnected: {reason}; trying again in {:.1} s", retry_in.as_secs_f32());
        }
        _ => {}
    }
}

/// Writes a message to standard output. Fails when nobody reads it any more.
fn print(message: &Message, json: bool) -> std::io::Result<()> {
    let line = if json { json_line(message).to_string() } else { human_line(&message.payload) };
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// JSON payloads as they are, other text as a string, other bytes apart as Base64.
fn json_line(message: &Message) -> Value {
    let mut line = json!({
        "type": "message",
        "id": message.id.to_string(),
        "user": message.address.user.as_str(),
        "product": message.address.product.0,
        "broadcast": message.broadcast,
        "redelivered": message.redelivered,
        "transient": message.transient,
        "sent_at": message.sent_at_ms,
    });
    let (name, payload) =
        match (serde_json::from_slice(&message.payload), std::str::from_utf8(&message.payload)) {
            (Ok(value), _) => ("payload", value),
            (_, Ok(text)) => ("payload", Value::from(text)),
            _ => ("payload_base64", Value::from(STANDARD.encode(&message.payload))),
        };
    line[name] = payload;
    line
}

/// JSON strings without their quotes, other text as it is, other bytes as Base64.
fn human_line(payload: &[u8]) -> String {
    if let Ok(Value::String(text)) = serde_json::from_slice(payload) {
        return harmless(&text);
    }
    match std::str::from_utf8(payload) {
        Ok(text) => harmless(text),
        Err(_) => STANDARD.encode(payload),
    }
}

/// Control characters are shown, not obeyed: a message does not repaint the terminal.
pub(crate) fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => shown.push(c),
            c if c.is_control() => shown.extend(c.escape_default()),
            c => shown.push(c),
        }
    }
    shown
}

/// Sends the lines of standard input one after the other.
async fn send_lines(client: Client, bind: BindId, route: u32) {
    let mut lines = stdin_lines();
    while let Some(line) = lines.recv().await {
        match client.uplink(bind, route, line, UPLINK_WITHIN).await {
            Ok(()) => eprintln!("uplink: safe with the business"),
            Err(error) => eprintln!("uplink: {error}"),
        }
    }
}

/// A thread of its own, since a read of the terminal cannot be called off and must not hold up the end.
fn stdin_lines() -> tokio::sync::mpsc::Receiver<String> {
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Ctrl-C, or SIGTERM from whoever started this.
pub(crate) async fn stop_signal() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("no handler for SIGTERM")?;
    tokio::select! {
        stopped = tokio::signal::ctrl_c() => stopped.context("no handler for Ctrl-C"),
        _ = terminate.recv() => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use longline_sdk::{Address, MessageId};

    use super::*;

    #[derive(Parser)]
    struct Tool {
        #[command(flatten)]
        args: Args,
    }

    fn parse(line: &str) -> Result<Args, clap::Error> {
        Tool::try_parse_from(line.split(' ')).map(|tool| tool.args)
    }

    /// A message as a device gets it, from a room that a test plays; [`BindId`]s come from clients alone.
    async fn message(payload: &[u8]) -> Message {
        let args = parse("listen --user alice --room 127.0.0.1:1").unwrap();
        let (client, _events) = start(&args).unwrap();
        let bind = client.bind(2, "bob", "").await.unwrap();
        Message {
            bind,
            address: Address::new(1, "alice").unwrap(),
            id: MessageId(42),
            payload: payload.to_vec().into(),
            sent_at_ms: 5,
            expires_at_ms: 6,
            redelivered: false,
            broadcast: true,
            notify_only: false,
            transient: false,
        }
    }

    #[test]
    fn people_read_text_and_json_and_base64_of_the_rest() {
        assert_eq!(human_line(br#""hello""#), "hello");
        assert_eq!(human_line(b"hello"), "hello");
        assert_eq!(human_line(br#"{"a":[1,2]}"#), r#"{"a":[1,2]}"#);
        assert_eq!(human_line(&[0xff, 0xfe]), "//4=");
        assert_eq!(human_line(b"a\tb\x1b[2J"), "a\tb\\u{1b}[2J");
    }

    #[tokio::test]
    async fn programs_read_a_line_of_json() {
        let line = json_line(&message(br#"{"a": 1}"#).await);
        let expected = json!({
            "type": "message", "id": "42", "user": "alice", "product": 1, "payload": {"a": 1},
            "broadcast": true, "redelivered": false, "transient": false, "sent_at": 5,
        });
        assert_eq!(line, expected);
        assert_eq!(json_line(&message(br#""hello""#).await)["payload"], "hello");
        assert_eq!(json_line(&message(b"not json").await)["payload"], "not json");
        let bytes = json_line(&message(&[0xff, 0xfe]).await);
        assert_eq!((&bytes["payload_base64"], bytes.get("payload")), (&json!("//4="), None));
    }

    #[test]
    fn the_command_line_has_one_place_to_connect_to() {
        let args = parse("listen --user alice").unwrap();
        assert_eq!((args.product, args.room.as_str(), args.count), (1, "127.0.0.1:9000", None));
        assert!(parse("listen").is_err());
        assert!(parse("listen --user a --dispatcher http://d --room r:1").is_err());
        assert!(parse("listen --user a --dispatcher http://d").is_ok());
    }
}
