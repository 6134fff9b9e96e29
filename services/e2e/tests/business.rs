//! From the device to the business: uplinks by webhook, signed, retried, safe before they are acknowledged; presence callbacks.
#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use longline_auth::webhook;
use longline_e2e::{Cluster, Device, SOON, Shape};
use longline_sdk::{Client, UplinkError};
use longline_testkit::eventually;
use longline_types::now_ms;
use serde_json::{Value, json};

/// A business server that keeps what it is told, and refuses the first few calls.
#[derive(Clone, Default)]
struct Business(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    refuse: usize,
    calls: Vec<(String, Vec<u8>)>,
}

impl Business {
    async fn start(refuse: usize) -> (Business, String) {
        let business = Business::default();
        business.0.lock().unwrap().refuse = refuse;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let app = axum::Router::new().route("/hook", axum::routing::post(take)).with_state(business.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        (business, url)
    }

    /// The bodies of the calls it took.
    fn bodies(&self) -> Vec<Value> {
        let inner = self.0.lock().unwrap();
        inner.calls.iter().map(|(_, body)| serde_json::from_slice(body).unwrap()).collect()
    }

    fn all_signed_with(&self, secret: &[u8]) -> bool {
        let inner = self.0.lock().unwrap();
        inner
            .calls
            .iter()
            .all(|(signature, body)| webhook::verify(secret, signature, body, now_ms() / 1000, 60).is_ok())
    }
}

async fn take(State(business): State<Business>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let mut inner = business.0.lock().unwrap();
    if inner.refuse > 0 {
        inner.refuse -= 1;
        return StatusCode::INTERNAL_SERVER_ERROR;
    }
    let signature = headers["longline-signature"].to_str().unwrap().to_owned();
    inner.calls.push((signature, body.to_vec()));
    StatusCode::OK
}

fn quick_retries() -> Shape {
    let mut shape = Shape::default();
    shape.coordinator.webhooks.retry_first_ms = 50;
    shape.coordinator.webhooks.sweep_every_ms = 50;
    shape
}

#[tokio::test]
async fn an_uplink_reaches_the_business_signed_though_its_server_fails_at_first() {
    let (business, url) = Business::start(3).await;
    let cluster = Cluster::shaped(quick_retries()).await.unwrap();
    let record = json!({ "name": "app", "routes": [{ "number": 7, "url": url }] });
    let record = cluster.admin_post("/v1/admin/products", record).await.unwrap();
    let product = record["product"]["id"].as_u64().unwrap() as u32;
    let device = Client::builder("phone-1").rooms(cluster.rooms()).bind(product, "alice", "");
    let device = Device::start(device).unwrap();
    device.until("it is bound", |r| r.bound == 1).await.unwrap();
    let bind = device.received().binds[0];
    device.client.uplink(bind, 7, r#"{"button":"yes"}"#, SOON).await.unwrap();
    assert!(
        business.bodies().is_empty(),
        "acknowledged when it is safe; the business refuses the first tries"
    );
    let no_route = device.client.uplink(bind, 8, "nobody takes this", SOON).await;
    assert!(matches!(no_route, Err(UplinkError::NoRoute)), "{no_route:?}");
    eventually(SOON, "the business has it", async || !business.bodies().is_empty()).await;
    let body = &business.bodies()[0];
    assert_eq!(body["type"], "uplink", "{body}");
    assert_eq!(
        (&body["user"], &body["device"], &body["route"]),
        (&json!("alice"), &json!("phone-1"), &json!(7))
    );
    assert_eq!(body["payload"], json!({ "button": "yes" }));
    assert!(business.all_signed_with(record["webhook_secret"].as_str().unwrap().as_bytes()));
}

#[tokio::test]
async fn presence_tells_the_business_who_came_and_went() {
    let (business, url) = Business::start(0).await;
    let cluster = Cluster::shaped(quick_retries()).await.unwrap();
    let (product, _) = cluster.create_product(json!({ "name": "app", "presence_url": url })).await.unwrap();
    let device = Device::bound(&cluster.rooms(), product, "bob").await.unwrap();
    eventually(SOON, "online", async || business.bodies().iter().any(|b| b["event"] == "online")).await;
    device.close().await;
    eventually(SOON, "offline", async || business.bodies().iter().any(|b| b["event"] == "offline")).await;
    assert!(business.bodies().iter().all(|b| b["type"] == "presence" && b["user"] == "bob"));
}
