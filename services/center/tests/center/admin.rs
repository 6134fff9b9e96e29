//! Products and nodes, for operators.

use std::time::Duration;

use longline_auth::{AdminKey, ProductKey};
use longline_pb::saver::SlowReader;
use longline_types::{Role, now_ms};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{ADMIN_KEY, Answer, Center, Cluster, PRODUCT, answer};

async fn admin(center: &Center, method: Method, path: &str, body: Option<Value>) -> Answer {
    let request = center.admin(method, path);
    answer(match body {
        Some(body) => request.json(&body),
        None => request,
    })
    .await
}

/// Whether the key opens the API.
async fn opens(center: &Center, key: &str) -> bool {
    answer(center.bare(Method::GET, "/v1/users/a").bearer_auth(key)).await.status == 200
}

#[tokio::test]
async fn a_created_product_works_at_once_and_shows_its_secrets_once() {
    let cluster = Cluster::start().await;
    cluster.saver.state().lag = Duration::from_millis(200);
    let center = cluster.center().await;
    let body = json!({
        "name": "news", "require_token": true, "window": 8, "max_ttl_seconds": 60, "default_ttl_seconds": 30,
        "durability": "fast", "slow_reader": "close", "max_queued_bytes": 65_536,
        "routes": [{ "number": 1, "url": "https://news.example/in" }],
        "presence_url": "http://news.example/presence"
    });
    let created = admin(&center, Method::POST, "/v1/admin/products", Some(body)).await;
    assert_eq!(created.status, 201, "{created:?}");
    let id = created.body["product"]["id"].as_u64().unwrap();
    assert_eq!(created.headers["location"], format!("/v1/admin/products/{id}"));
    let key = created.body["key"].as_str().unwrap();
    assert!(opens(&center, key).await);
    assert_eq!(u64::from(ProductKey::parse(key).unwrap().product().0), id);

    let read = admin(&center, Method::GET, &format!("/v1/admin/products/{id}"), None).await;
    assert_eq!(read.body, created.body["product"]);
    assert_eq!(read.headers["etag"], format!("\"{}\"", read.body["revision"]));
    let shown = read.body.to_string();
    for secret in ["key", "token_key", "webhook_secret"] {
        assert!(!shown.contains(created.body[secret].as_str().unwrap()), "{secret} is shown once");
    }
    assert_eq!((&read.body["window"], &read.body["durability"]), (&json!(8), &json!("fast")));
    assert_eq!(
        (&read.body["slow_reader"], &read.body["max_queued_bytes"]),
        (&json!("close"), &json!(65_536))
    );
    assert_eq!(
        (&read.body["inbox_limit"], &read.body["has_token_key"]),
        (&json!(1000), &json!(true)),
        "defaults"
    );

    let stored = cluster.saver.product(id as u32).unwrap();
    assert_eq!(stored.token_keys, [created.body["token_key"].as_str().unwrap().as_bytes()]);
    assert_eq!(stored.webhook_secret, created.body["webhook_secret"].as_str().unwrap().as_bytes());

    let list = admin(&center, Method::GET, "/v1/admin/products", None).await;
    let names: Vec<&Value> = list.body["products"].as_array().unwrap().iter().map(|p| &p["name"]).collect();
    assert_eq!(names, ["shop", "news"]);
    let again = admin(&center, Method::POST, "/v1/admin/products", Some(json!({ "name": "news" }))).await;
    again.is_problem(409, "conflict").says("name");
}

#[tokio::test]
async fn a_product_is_changed_field_by_field_and_by_revision() {
    let cluster = Cluster::start().await;
    cluster.saver.state().lag = Duration::from_millis(200);
    let center = cluster.center().await;
    let path = format!("/v1/admin/products/{PRODUCT}");
    let patch = async |body: Value| admin(&center, Method::PATCH, &path, Some(body)).await;
    let changed = patch(json!({ "name": "store", "inbox_limit": 5, "max_heartbeat_seconds": 60 })).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    assert_eq!(
        (&changed.body["name"], &changed.body["inbox_limit"], &changed.body["max_heartbeat_seconds"]),
        (&json!("store"), &json!(5), &json!(60))
    );
    assert_eq!(changed.body["revision"], 2);
    assert_eq!(changed.body["max_ttl_seconds"], 3600, "what is not named stays");
    let reset = patch(json!({ "inbox_limit": null, "max_heartbeat_seconds": null, "revision": 2 })).await;
    assert_eq!(
        (&reset.body["inbox_limit"], &reset.body["max_heartbeat_seconds"]),
        (&json!(1000), &Value::Null)
    );

    let slow = patch(json!({ "slow_reader": "close", "max_queued_bytes": 8192 })).await;
    assert_eq!((&slow.body["slow_reader"], &slow.body["max_queued_bytes"]), (&json!("close"), &json!(8192)));
    let stored = cluster.saver.product(PRODUCT).unwrap();
    assert_eq!((stored.slow_reader(), stored.max_queued_bytes), (SlowReader::Close, 8192));
    let reset = patch(json!({ "slow_reader": null, "max_queued_bytes": null })).await;
    assert_eq!(
        (&reset.body["slow_reader"], &reset.body["max_queued_bytes"]),
        (&json!("inbox"), &Value::Null)
    );

    patch(json!({ "revision": 2, "window": 3 }))
        .await
        .is_problem(409, "revision_conflict")
        .says("revision 5");
    let by_header = |tag: &str| {
        answer(center.admin(Method::PATCH, &path).header("If-Match", tag).json(&json!({ "window": 3 })))
    };
    by_header("\"2\"").await.is_problem(409, "revision_conflict");
    by_header("x").await.is_problem(400, "invalid_argument");
    assert_eq!(by_header("\"5\"").await.body["window"], 3);

    // The change is in force here when it is answered.
    let disabled = patch(json!({ "disabled": true })).await;
    assert_eq!(disabled.status, 200);
    center.get("/v1/users/a").await.is_problem(403, "product_disabled");
}

#[tokio::test]
async fn wrong_products_are_refused_by_field() {
    let cluster = Cluster::start().await;
    let center = cluster.center().await;
    for (body, says) in [
        (json!({}), "missing field `name`"),
        (json!({ "name": "" }), "1 to 64 bytes"),
        (json!({ "name": "x", "id": 0 }), "at least 1"),
        (json!({ "name": "x", "window": 0 }), "window is 1 to 1024"),
        (json!({ "name": "x", "inbox_limit": 100_001 }), "inbox_limit"),
        (json!({ "name": "x", "ack_timeout_seconds": 3601 }), "ack_timeout_seconds"),
        (json!({ "name": "x", "default_ttl_seconds": 3_000_000 }), "default_ttl_seconds is at most"),
        (json!({ "name": "x", "slow_reader": "drop" }), "expected `inbox` or `close`"),
        (json!({ "name": "x", "max_queued_bytes": 0 }), "max_queued_bytes is 4096 to 16777216"),
        (json!({ "name": "x", "presence_url": "ftp://x" }), "http"),
        (json!({ "name": "x", "routes": [{ "number": 1, "url": "nonsense" }] }), "url"),
        (json!({ "name": "x", "keys": [] }), "unknown field `keys`"),
    ] {
        let answer = admin(&center, Method::POST, "/v1/admin/products", Some(body)).await;
        answer.is_problem(400, "invalid_argument").says(says);
    }
    let patch = async |path: &str| admin(&center, Method::PATCH, path, Some(json!({ "window": 1 }))).await;
    patch("/v1/admin/products/99").await.is_problem(404, "not_found");
    patch("/v1/admin/products/0").await.is_problem(400, "invalid_id");
    patch("/v1/admin/products/x").await.is_problem(400, "invalid_id");
}

#[tokio::test]
async fn a_rotated_key_has_a_grace() {
    let cluster = Cluster::start().await;
    let center = cluster.center().await;
    let old = cluster.key.expose();
    let path = format!("/v1/admin/products/{PRODUCT}/rotate-key");
    let rotated = admin(&center, Method::POST, &path, Some(json!({ "grace_seconds": 60 }))).await;
    assert_eq!(rotated.status, 200, "{rotated:?}");
    let first = rotated.body["key"].as_str().unwrap();
    assert!(opens(&center, first).await && opens(&center, old).await);
    let ends = cluster.saver.product(PRODUCT).unwrap().keys[1].expires_at_ms;
    assert!((50_000..=60_000).contains(&(ends - now_ms())), "{ends}");

    let rotated = admin(&center, Method::POST, &path, Some(json!({ "grace_seconds": 0 }))).await;
    let second = rotated.body["key"].as_str().unwrap();
    assert!(opens(&center, second).await);
    assert!(!opens(&center, first).await && !opens(&center, old).await);
    assert_eq!(admin(&center, Method::POST, &path, None).await.status, 200, "a body may be left out");
    assert!(opens(&center, second).await, "the default grace is a day");
    let long = admin(&center, Method::POST, &path, Some(json!({ "grace_seconds": 7_776_001 }))).await;
    long.is_problem(400, "invalid_argument").says("7776000");
}

#[tokio::test]
async fn token_keys_and_webhook_secrets_are_rotated_too() {
    let cluster = Cluster::start().await;
    let center = cluster.center().await;
    let post = async |what: &str, body: Option<Value>| {
        let path = format!("/v1/admin/products/{PRODUCT}/{what}");
        let answer = admin(&center, Method::POST, &path, body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body["key"].as_str().unwrap().as_bytes().to_vec()
    };
    let token_keys = || cluster.saver.product(PRODUCT).unwrap().token_keys;
    let first = post("rotate-token-key", None).await;
    let second = post("rotate-token-key", None).await;
    assert_eq!(token_keys(), [second.clone(), first]);
    let third = post("rotate-token-key", None).await;
    assert_eq!(token_keys(), [third, second], "only the one before stays");
    let fourth = post("rotate-token-key", Some(json!({ "drop_old": true }))).await;
    assert_eq!(token_keys(), [fourth]);
    let secret = post("rotate-webhook-secret", None).await;
    assert_eq!(cluster.saver.product(PRODUCT).unwrap().webhook_secret, secret);
}

#[tokio::test]
async fn only_the_admin_key_opens_the_operators_side() {
    let cluster = Cluster::start().await;
    let center = cluster.center().await;
    let paths = ["/v1/admin/products", "/v1/admin/products/7", "/v1/admin/nodes", "/v1/admin/accounting"];
    for path in paths {
        center.get(path).await.is_problem(401, "unauthenticated");
        answer(center.bare(Method::GET, path)).await.is_problem(401, "unauthenticated");
        assert_eq!(admin(&center, Method::GET, path, None).await.status, 200, "{path}");
    }
    let closed = cluster.center_with(|config| config.admin_key_sha256 = None).await;
    admin(&closed, Method::GET, paths[0], None)
        .await
        .is_problem(403, "admin_disabled")
        .says("admin_key_sha256");
    assert!(AdminKey::new(ADMIN_KEY).is_ok(), "a key that a file could hold");
}

#[tokio::test]
async fn the_view_is_shown() {
    let cluster = Cluster::start().await;
    let center = cluster.center().await;
    let nodes = admin(&center, Method::GET, "/v1/admin/nodes", None).await;
    assert_eq!(nodes.status, 200);
    assert!(nodes.body["view"].as_u64().unwrap() > 0);
    let nodes = nodes.body["nodes"].as_array().unwrap();
    let roles: Vec<&str> = nodes.iter().map(|n| n["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["saver", "register", "coordinator", "room", "room", "center"]);
    assert_eq!(nodes[1]["slots"], 4096);
    assert_eq!(nodes[3]["incarnation"], "1003");
    assert_eq!(nodes[3]["public"], json!(["room-3.example:9000"]));
    assert_eq!(nodes[5]["public"], json!([center.address.to_string()]));
    assert_eq!(nodes[0]["registered_at"], "2025-01-01T00:00:00.000Z");
    assert_eq!(Role::ALL.len(), 7);
}

#[tokio::test]
async fn every_message_is_accounted_for_i3() {
    let cluster = Cluster::start().await;
    let center = cluster.center().await;
    let first = center.send("a", json!(1)).await;
    center.send("a", json!(2)).await;
    cluster.saver.end(first, longline_pb::types::MessageState::Acked);
    let account = admin(&center, Method::GET, &format!("/v1/admin/accounting?product={PRODUCT}"), None).await;
    assert_eq!(account.body["accepted"], 2, "{account:?}");
    assert_eq!(
        (&account.body["states"]["waiting"], &account.body["states"]["acked"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(account.body["states"]["expired"], 0);
    assert_eq!(admin(&center, Method::GET, "/v1/admin/accounting?product=8", None).await.body["accepted"], 0);
    admin(&center, Method::GET, "/v1/admin/accounting?product=x", None)
        .await
        .is_problem(400, "invalid_argument");
}
