//! The webhook, called as the coordinator does.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Request;
use longline_auth::webhook::{HEADER, sign};
use longline_load_truth::{Header, Kind};
use serde_json::{Value, json};

use crate::http::Connection;
use crate::http::body::Whole;
use crate::webhook::{Options, Webhook};

const SECRET: &[u8] = b"a secret";

async fn start(fail_one_in: u64) -> Webhook {
    let listen = "127.0.0.1:0".parse().unwrap();
    Webhook::start(Options { listen, secret: Some(SECRET.to_vec()), fail_one_in }).await.unwrap()
}

fn uplink(agent: u16, sequence: u64) -> Value {
    let header = Header { run: 7, agent, kind: Kind::Uplink, user: 1, sequence, due: 0 };
    let mut payload = Vec::new();
    header.payload(64, &mut payload);
    json!({
        "type": "uplink", "id": "123", "product": 7, "user": "u-1", "device": "d1", "route": 1, "sequence": 3,
        "payload_base64": STANDARD.encode(payload), "received_at": "2024-12-31T23:59:59.001Z"
    })
}

/// The status of calls with this body, one for each secret.
async fn call(webhook: &Webhook, body: &str, secret: &[u8]) -> u16 {
    let now_s = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let request = Request::post("/")
        .header("host", "x")
        .header(HEADER, sign(secret, now_s, body.as_bytes()))
        .body(Whole::new(body.to_owned().into()))
        .unwrap();
    let mut connection = Connection::open(&webhook.address().to_string()).await.unwrap();
    connection.exchange(request, &mut Vec::new()).await.unwrap().status.as_u16()
}

#[tokio::test]
async fn uplinks_are_recorded_once_and_repeats_counted() {
    let webhook = start(0).await;
    for (agent, sequence) in [(1, 0), (1, 70), (2, 0), (1, 70)] {
        assert_eq!(call(&webhook, &uplink(agent, sequence).to_string(), SECRET).await, 200);
    }
    let record = webhook.record();
    assert_eq!((record.received, record.repeated), (3, 1));
    assert_eq!(record.missing(7, 1, &[0b11, 1 << 6]), 1);
    assert_eq!(record.missing(7, 2, &[0b1]), 0);
}

#[tokio::test]
async fn what_is_not_signed_is_refused_and_what_is_no_uplink_is_counted() {
    let webhook = start(0).await;
    assert_eq!(call(&webhook, &uplink(1, 0).to_string(), b"another").await, 401);
    assert_eq!(call(&webhook, r#"{"type":"presence","event":"online"}"#, SECRET).await, 200);
    for body in ["", "[]", r#"{"type":"uplink"}"#, r#"{"type":"uplink","payload_base64":"AAAA"}"#] {
        assert_eq!(call(&webhook, body, SECRET).await, 200);
    }
    assert_eq!(call(&webhook, &"x".repeat(300_000), SECRET).await, 400);
    let record = webhook.record();
    assert_eq!((record.forged, record.others, record.unreadable, record.received), (1, 1, 5, 0));
}

#[tokio::test]
async fn one_call_in_so_many_fails_and_is_not_taken() {
    let webhook = start(3).await;
    let mut answers = Vec::new();
    for sequence in 0..6 {
        answers.push(call(&webhook, &uplink(1, sequence).to_string(), SECRET).await);
    }
    assert_eq!(answers, [200, 200, 500, 200, 200, 500]);
    assert_eq!((webhook.record().received, webhook.record().refused), (4, 2));
    assert_eq!(webhook.record().missing(7, 1, &[0b11_1111]), 2);
}

#[tokio::test]
async fn a_dropped_webhook_is_gone() {
    let webhook = start(0).await;
    let address = webhook.address().to_string();
    drop(webhook);
    let gone = async {
        while Connection::open(&address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), gone).await.unwrap();
}
