//! What is wrong is answered by 4xx with a problem document, whatever it is.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Cluster, PRODUCT, answer};
use longline_auth::ProductKey;
use longline_types::ProductId;

#[tokio::test]
async fn a_wrong_body_is_said_where_it_is_wrong() {
    let cluster = Cluster::start().await;
    let center = cluster.center().await;
    let to = json!({ "user": "a" });
    let users = |n: usize| (0..n).map(|n| format!("u{n}")).collect::<Vec<_>>();
    let cases: Vec<(Value, u16, &str, &str)> = vec![
        (json!([]), 400, "invalid_argument", ""),
        (json!({}), 400, "invalid_argument", "missing field `to` at line 1 column 2"),
        (json!({ "to": to }), 400, "invalid_argument", "payload_base64"),
        (json!({ "to": to, "payload": 1, "payload_base64": "" }), 400, "invalid_argument", "not both"),
        (json!({ "to": to, "payload_base64": "%" }), 400, "invalid_argument", "Base64"),
        (
            json!({ "to": to, "payload": 1, "tll_seconds": 1 }),
            400,
            "invalid_argument",
            "unknown field `tll_seconds`",
        ),
        (json!({ "to": { "usr": "a" }, "payload": 1 }), 400, "invalid_argument", "unknown field `usr`"),
        (json!({ "to": {}, "payload": 1 }), 400, "invalid_argument", "either user or users"),
        (
            json!({ "to": { "user": "a", "users": [] }, "payload": 1 }),
            400,
            "invalid_argument",
            "either user or users",
        ),
        (json!({ "to": { "users": [] }, "payload": 1 }), 400, "invalid_argument", "at least one"),
        (json!({ "to": { "users": users(1001) }, "payload": 1 }), 400, "invalid_argument", "at most 1000"),
        (json!({ "to": { "users": ["a", "b", "a"] }, "payload": 1 }), 400, "invalid_argument", "twice"),
        (json!({ "to": { "user": 5 }, "payload": 1 }), 400, "invalid_argument", "expected a string"),
        (json!({ "to": { "user": "" }, "payload": 1 }), 400, "invalid_user", "at least 1 byte"),
        (
            json!({ "to": { "user": "x".repeat(129) }, "payload": 1 }),
            400,
            "invalid_user",
            "at most 128 bytes",
        ),
        (json!({ "to": { "user": "a\u{0}" }, "payload": 1 }), 400, "invalid_user", "control"),
        (json!({ "to": to, "payload": 1, "class": "Durable" }), 400, "invalid_argument", "durable"),
        (json!({ "to": to, "payload": 1, "durability": "none" }), 400, "invalid_argument", "synced"),
        (json!({ "to": to, "payload": 1, "ttl_seconds": 0 }), 400, "invalid_argument", "at least 1"),
        (json!({ "to": to, "payload": 1, "ttl_seconds": -1 }), 400, "invalid_argument", "-1"),
        (json!({ "to": to, "payload": 1, "ttl_seconds": 1.5 }), 400, "invalid_argument", "1.5"),
        (json!({ "to": to, "payload": 1, "ttl_seconds": 3601 }), 400, "invalid_argument", "at most 3600"),
        (
            json!({ "to": to, "payload": 1, "collapse_key": "x".repeat(65) }),
            400,
            "invalid_argument",
            "64 bytes",
        ),
        (
            json!({ "to": to, "payload": 1, "class": "transient", "collapse_key": "x" }),
            400,
            "invalid_argument",
            "transient",
        ),
        (json!({ "to": to, "payload": "x".repeat(65_535) }), 413, "payload_too_large", "65536"),
        (json!({ "to": to, "payload": "x".repeat(1024 * 1024) }), 413, "body_too_large", "1048576"),
        (json!({ "to": to, "payload": "x".repeat(9 * 1024 * 1024) }), 413, "body_too_large", "1048576"),
    ];
    for (body, status, code, says) in cases {
        center.post("/v1/messages", body).await.is_problem(status, code).says(says);
    }
    assert!(cluster.saver.state().puts.is_empty(), "nothing of it was stored");
    let full = json!({ "to": to, "payload": "x".repeat(65_534) });
    assert_eq!(center.post("/v1/messages", full).await.status, 202, "the limit itself is allowed");
}

#[tokio::test]
async fn what_is_no_json_is_said_with_line_and_column() {
    let cluster = Cluster::start().await;
    let center = cluster.center().await;
    let post = async |content_type: &str, body: &'static [u8]| {
        let request = center.request(Method::POST, "/v1/messages").header("content-type", content_type);
        answer(request.body(body)).await
    };
    let cases: [(&[u8], &str); 6] = [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"{\"to\":\n  x}", "line 2 column 3"),
        (b"{\"to\": {\"user\": \"a\"", "line 1"),
        (b"{\"to\": {\"user\": \"\xff\"}, \"payload\": 1}", "line 1"),
        (b"{} {}", "line 1"),
    ];
    for (body, says) in cases {
        let answer = post("application/json", body).await;
        assert!(
            matches!(answer.body["code"].as_str(), Some("malformed_json" | "invalid_argument")),
            "{answer:?}"
        );
        assert_eq!(answer.status, 400);
        answer.says(says);
    }
    let deep: &'static [u8] = Box::leak("[".repeat(500_000).into_bytes().into_boxed_slice());
    assert_eq!(post("application/json", deep).await.status, 400);
    let form = post("application/x-www-form-urlencoded", b"{}").await;
    form.is_problem(415, "unsupported_media_type").says("application/json");
}

#[tokio::test]
async fn headers_are_checked() {
    let cluster = Cluster::start().await;
    let center = cluster.center().await;
    let body = json!({ "to": { "user": "a" }, "payload": 1 });
    let post = || center.request(Method::POST, "/v1/messages").json(&body);
    answer(post().header("Idempotency-Key", "x".repeat(129))).await.is_problem(400, "invalid_argument");
    answer(post().header("Idempotency-Key", "")).await.is_problem(400, "invalid_argument").says("empty");
    answer(post().header("Idempotency-Key", "a").header("Idempotency-Key", "b"))
        .await
        .is_problem(400, "invalid_argument")
        .says("more than once");
    let latin: &[u8] = b"\xe9";
    answer(post().header("Idempotency-Key", latin)).await.is_problem(400, "invalid_argument").says("UTF-8");
    assert!(cluster.saver.state().puts.is_empty());
}

#[tokio::test]
async fn only_the_products_key_opens_the_api() {
    let cluster = Cluster::start().await;
    let center = cluster.center().await;
    let get = |key: &str| answer(center.bare(Method::GET, "/v1/users/a").header("authorization", key));
    let missing = answer(center.bare(Method::GET, "/v1/users/a")).await;
    missing.is_problem(401, "unauthenticated").says("Authorization: Bearer");
    assert_eq!(missing.headers["www-authenticate"], "Bearer");
    let other = ProductKey::generate(ProductId(PRODUCT));
    let unknown = ProductKey::generate(ProductId(99));
    for wrong in ["", "Bearer", "Basic YTpi", "Bearer x", other.expose(), unknown.expose()] {
        get(wrong).await.is_problem(401, "unauthenticated");
    }
    for wrong in [&other, &unknown] {
        get(&format!("Bearer {}", wrong.expose())).await.is_problem(401, "unauthenticated");
    }
    get(&format!("Bearer {}", crate::support::ADMIN_KEY)).await.is_problem(401, "unauthenticated");

    let product = cluster.saver.product(PRODUCT).unwrap();
    let disabled = longline_pb::saver::Product { disabled: true, revision: 2, ..product };
    cluster.saver.store_product(disabled);
    let key = format!("Bearer {}", cluster.key.expose());
    let mut refused = get(&key).await;
    for _ in 0..500 {
        if refused.status == 403 {
            break;
        }
        refused = get(&key).await;
    }
    refused.is_problem(403, "product_disabled");
}

#[tokio::test]
async fn paths_methods_and_ids_are_checked() {
    let cluster = Cluster::start().await;
    let center = cluster.center().await;
    for path in
        ["/", "/v1", "/v1/nothing", "/v1/messages/", "/v1/users", "/v1/users/", "/metrics", "/v2/messages"]
    {
        center.get(path).await.is_problem(404, "unknown_path").says(path);
    }
    let answer = center.delete("/v1/messages").await;
    answer.is_problem(405, "method_not_allowed");
    assert_eq!(answer.headers["allow"], "POST");
    center.get("/v1/broadcasts").await.is_problem(405, "method_not_allowed");
    for id in ["x", "-1", "1.0", "99999999999999999999", "01", "%20"] {
        center.get(&format!("/v1/messages/{id}")).await.is_problem(400, "invalid_id");
    }
    center.get("/v1/messages/1").await.is_problem(404, "not_found");
    center.delete("/v1/messages/1").await.is_problem(404, "not_found");
    center.get("/v1/users/%FF").await.is_problem(400, "invalid_path");
    center.get(&format!("/v1/users/{}", "x".repeat(129))).await.is_problem(400, "invalid_user");
    center.get("/v1/users/a%00").await.is_problem(400, "invalid_user");
    assert_eq!(center.get(&format!("/v1/users/{}", "x".repeat(128))).await.status, 200);
}
