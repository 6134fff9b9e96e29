//! Clients that do not speak as they should, on raw sockets.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Center, Cluster, SOON, eventually};

/// Sends these bytes and reads until the center closes.
async fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(bytes).await.unwrap();
    until_closed(&mut socket).await
}

async fn until_closed(socket: &mut TcpStream) -> String {
    let mut text = Vec::new();
    // A reset is an end too.
    let _ = tokio::time::timeout(SOON, socket.read_to_end(&mut text)).await.expect("closed in time");
    String::from_utf8_lossy(&text).into_owned()
}

async fn impatient(cluster: &Cluster) -> Center {
    let quick = |config: &mut longline_center::Config| {
        config.http.head_timeout_ms = 200;
        config.http.body_timeout_ms = 200;
    };
    cluster.center_with(quick).await
}

#[tokio::test]
async fn who_says_nothing_or_little_is_cut() {
    let cluster = Cluster::start().await;
    let center = impatient(&cluster).await;
    let beginnings: [&[u8]; 5] = [
        b"",
        b"P",
        b"PRI * HTTP/2.0\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        b"GET /v1/users/a HTTP/1.1\r\nHost: x\r\nAuthorization: ",
    ];
    for bytes in beginnings {
        let text = exchange(center.address, bytes).await;
        assert!(!text.contains("200 OK"), "{bytes:?}: {text}");
    }
    eventually("no connection is left", || center.counter("longline_http_connections") == 0).await;
}

#[tokio::test]
async fn a_body_that_does_not_come_is_answered_and_cut() {
    let cluster = Cluster::start().await;
    let center = impatient(&cluster).await;
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {}\r\nContent-Length: 100\r\n\r\n{{",
        cluster.key.expose()
    );
    let text = exchange(center.address, head.as_bytes()).await;
    assert!(text.starts_with("HTTP/1.1 408") && text.contains("body_timeout"), "{text}");
}

#[tokio::test]
async fn garbage_is_a_client_error_and_harms_nobody() {
    let cluster = Cluster::start().await;
    let center = impatient(&cluster).await;
    let long_header = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(100_000));
    let many_headers = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(1000));
    let long_path = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(100_000));
    let garbage = [
        "\0\u{1}\u{2}\r\n\r\n",
        "LL\u{1}\0",
        "GET\r\n\r\n",
        "POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        "POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "POST /v1/messages HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "GET /%zz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        &long_header,
        &many_headers,
        &long_path,
    ];
    for bytes in garbage {
        let text = exchange(center.address, bytes.as_bytes()).await;
        let shown: String = bytes.chars().take(40).collect();
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 4"), "{shown:?}: {text}");
    }
    assert_eq!(center.get("/v1/users/a").await.status, 200);
}

#[tokio::test]
async fn connections_and_requests_are_bounded() {
    let cluster = Cluster::start().await;
    let center = cluster.center_with(|config| config.http.max_connections = 2).await;
    let held = [
        TcpStream::connect(center.address).await.unwrap(),
        TcpStream::connect(center.address).await.unwrap(),
    ];
    eventually("both are open", || center.counter("longline_http_connections") == 2).await;
    assert_eq!(exchange(center.address, b"").await, "", "closed as it came");
    assert_eq!(center.counter("longline_http_connections_refused_total"), 1);
    drop(held);
    eventually("there is room again", || center.counter("longline_http_connections") == 0).await;
    assert_eq!(center.get("/v1/users/a").await.status, 200);

    let center = cluster.center_with(|config| config.http.max_requests = 1).await;
    let slow = format!(
        "POST /v1/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Length: 100\r\n\r\n{{",
        cluster.key.expose()
    );
    let mut socket = TcpStream::connect(center.address).await.unwrap();
    socket.write_all(slow.as_bytes()).await.unwrap();
    let refused = longline_testkit::eventually_some(SOON, "a refusal", async || {
        let answer = center.get("/v1/users/a").await;
        (answer.status == 503).then_some(answer)
    });
    refused.await.is_problem(503, "overloaded");
}

#[tokio::test]
async fn a_request_has_a_deadline() {
    let cluster = Cluster::start().await;
    let center = cluster.center_with(|config| config.http.request_timeout_ms = 300).await;
    cluster.saver.refuse("a", &[longline_types::ErrorCode::Unavailable; 1000]);
    let body = serde_json::json!({ "to": { "user": "a" }, "payload": 1 });
    center.post("/v1/messages", body).await.is_problem(504, "deadline_exceeded").says("Idempotency-Key");
}

#[tokio::test]
async fn http_1_1_and_h2_with_prior_knowledge_share_the_port() {
    let cluster = Cluster::start().await;
    let center = cluster.center().await;
    let url = format!("http://{}/v1/users/a", center.address);
    for (builder, version) in [
        (reqwest::Client::builder().http1_only(), reqwest::Version::HTTP_11),
        (reqwest::Client::builder().http2_prior_knowledge(), reqwest::Version::HTTP_2),
    ] {
        let client = builder.timeout(Duration::from_secs(20)).build().unwrap();
        let response = client.get(&url).bearer_auth(cluster.key.expose()).send().await.unwrap();
        assert_eq!((response.status().as_u16(), response.version()), (200, version));
    }
}
