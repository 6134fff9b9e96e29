//! `longline push`: one call of the API.

use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api;

/// How long the API may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What is sent to whom, and through which API.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The message: text, or with --json a JSON value
    text: String,
    /// The user it is for
    #[arg(long, short, required_unless_present = "broadcast", conflicts_with = "broadcast")]
    user: Option<String>,
    /// Send it to every user of the product
    #[arg(long)]
    broadcast: bool,
    /// Where the API is
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    api: String,
    /// The product's key
    #[arg(long, env = "LONGLINE_KEY", hide_env_values = true)]
    key: String,
    /// How many seconds it may wait for the user
    #[arg(long, value_name = "SECONDS")]
    ttl: Option<u32>,
    /// Do not store it: it is dropped if the user is not online
    #[arg(long, conflicts_with = "broadcast")]
    transient: bool,
    /// Take the place of a waiting message with the same key
    #[arg(long, value_name = "KEY", conflicts_with = "broadcast")]
    collapse_key: Option<String>,
    /// Recognises a repeat of this call
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// TEXT is a JSON value
    #[arg(long)]
    json: bool,
}

/// Sends it and prints its id.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let (path, body) = request(&args)?;
    let url = format!("{}{path}", args.api.trim_end_matches('/'));
    let http = reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build()?;
    let mut call = http.post(&url).bearer_auth(&args.key).json(&body);
    if let Some(key) = &args.idempotency_key {
        call = call.header("idempotency-key", key);
    }
    let response = call.send().await.with_context(|| format!("no answer from {url}"))?;
    let status = response.status();
    let body = api::read(response).await?;
    println!("{}", id_of(status, &body)?);
    Ok(())
}

/// The path and the body of the call.
fn request(args: &Args) -> anyhow::Result<(&'static str, Value)> {
    let payload = if args.json {
        serde_json::from_str(&args.text).context("TEXT is not a JSON value")?
    } else {
        Value::from(args.text.as_str())
    };
    let mut body = json!({ "payload": payload });
    if let Some(ttl) = args.ttl {
        body["ttl_seconds"] = ttl.into();
    }
    let Some(user) = &args.user else { return Ok(("/v1/broadcasts", body)) };
    body["to"] = json!({ "user": user });
    if args.transient {
        body["class"] = "transient".into();
    }
    if let Some(key) = &args.collapse_key {
        body["collapse_key"] = key.as_str().into();
    }
    Ok(("/v1/messages", body))
}

/// What the API answers to a message or a broadcast that it accepted.
#[derive(Deserialize)]
struct Accepted {
    id: Option<String>,
    #[serde(default)]
    messages: Vec<Sent>,
}

#[derive(Deserialize)]
struct Sent {
    id: Option<String>,
    error: Option<api::Problem>,
}

/// The id of what was accepted, or what the API says is wrong.
fn id_of(status: StatusCode, body: &[u8]) -> anyhow::Result<String> {
    api::check(status, body)?;
    let accepted: Accepted = serde_json::from_slice(body)
        .with_context(|| format!("the answer is not one of this API: {}", api::beginning(body)))?;
    let sent = accepted.messages.into_iter().next();
    match (accepted.id, sent) {
        (Some(id), _) | (None, Some(Sent { id: Some(id), .. })) => Ok(id),
        (None, Some(Sent { error: Some(problem), .. })) => Err(api::refusal(&problem)),
        _ => bail!("the answer has no id: {}", api::beginning(body)),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Tool {
        #[command(flatten)]
        args: Args,
    }

    fn parse(words: &[&str]) -> Result<Args, clap::Error> {
        let words = ["push", "--key", "k"].iter().chain(words);
        Tool::try_parse_from(words).map(|tool| tool.args)
    }

    fn body(words: &[&str]) -> (&'static str, Value) {
        request(&parse(words).unwrap()).unwrap()
    }

    #[test]
    fn options_become_the_fields_of_the_call() {
        let plain = json!({"to": {"user": "alice"}, "payload": "hello"});
        assert_eq!(body(&["--user", "alice", "hello"]), ("/v1/messages", plain));
        let full =
            ["--user", "a", "--ttl", "5", "--transient", "--collapse-key", "c", "--json", r#"{"n":1}"#];
        let expected = json!({"to": {"user": "a"}, "payload": {"n": 1}, "ttl_seconds": 5, "class": "transient",
            "collapse_key": "c"});
        assert_eq!(body(&full), ("/v1/messages", expected));
        assert_eq!(body(&["--broadcast", "hello"]), ("/v1/broadcasts", json!({"payload": "hello"})));
        assert_eq!(body(&["--user", "a", "{1}"]).1["payload"], "{1}");
        assert!(request(&parse(&["--user", "a", "--json", "{1}"]).unwrap()).is_err());
    }

    #[test]
    fn somebody_must_get_it() {
        assert!(parse(&["hello"]).is_err());
        assert!(parse(&["--user", "a", "--broadcast", "hello"]).is_err());
        assert!(parse(&["--transient", "--broadcast", "hello"]).is_err());
    }

    #[test]
    fn answers_are_an_id_or_a_sentence() {
        let said = |status: u16, body: &str| {
            id_of(StatusCode::from_u16(status).unwrap(), body.as_bytes()).map_err(|e| e.to_string())
        };
        assert_eq!(said(202, r#"{"messages":[{"user":"alice","id":"17"}]}"#), Ok("17".into()));
        assert_eq!(said(202, r#"{"id":"18"}"#), Ok("18".into()));
        let problem = r#"{"type":"x","title":"Unauthorized","status":401,"code":"unauthenticated","detail":"no such key"}"#;
        assert_eq!(said(401, problem), Err("no such key (unauthenticated)".into()));
        let refused = r#"{"messages":[{"user":"a","error":{"code":"unavailable","detail":"no saver"}}]}"#;
        assert_eq!(said(202, refused), Err("no saver (unavailable)".into()));
        assert_eq!(said(502, "<b>bad\n"), Err("the API answered 502 Bad Gateway: <b>bad".into()));
        assert!(said(202, "{}").is_err() && said(202, "hello").is_err());
    }
}
