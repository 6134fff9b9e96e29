//! The admin port: `/metrics`, `/healthz`, `/readyz`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus::proto::MetricFamily;
use prometheus::{Registry, TEXT_FORMAT, TextEncoder};
use tokio_util::sync::CancellationToken;

use crate::{Deps, Readiness, panics};

/// What the admin port shows; clones share it.
#[derive(Clone)]
pub(crate) struct Admin {
    process: Registry,
    shutdown: CancellationToken,
    services: Arc<Mutex<Vec<(String, Deps)>>>,
}

impl Admin {
    /// Shows the process itself, and no service yet.
    pub(crate) fn new(process: Registry, shutdown: CancellationToken) -> Admin {
        Admin { process, shutdown, services: Arc::default() }
    }

    /// Shows this service too.
    pub(crate) fn add(&self, name: &str, deps: Deps) {
        self.services.lock().unwrap_or_else(PoisonError::into_inner).push((name.to_owned(), deps));
    }

    /// Serves until the runtime ends, so that it answers while everything else stops.
    pub(crate) async fn serve(self, listener: tokio::net::TcpListener) -> std::io::Result<()> {
        axum::serve(listener, self.router()).await
    }

    fn router(self) -> Router {
        Router::new()
            .route("/metrics", get(metrics))
            .route("/healthz", get(healthz))
            .route("/readyz", get(readyz))
            .fallback((StatusCode::NOT_FOUND, "/metrics, /healthz and /readyz are here\n"))
            .with_state(self)
    }

    fn services(&self) -> Vec<(String, Deps)> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Binds the admin port.
pub(crate) fn bind(address: SocketAddr) -> std::io::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

async fn metrics(State(admin): State<Admin>) -> Response {
    let registries =
        std::iter::once(admin.process.clone()).chain(admin.services().into_iter().map(|(_, d)| d.registry));
    match TextEncoder::new().encode_to_string(&merge(registries.flat_map(|r| r.gather()))) {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// Families of the same name from several registries become one, as the text format asks.
fn merge(families: impl Iterator<Item = MetricFamily>) -> Vec<MetricFamily> {
    let mut merged: BTreeMap<String, MetricFamily> = BTreeMap::new();
    for mut family in families {
        match merged.get_mut(family.name()) {
            Some(first) if first.get_field_type() == family.get_field_type() => {
                first.mut_metric().append(family.mut_metric());
            }
            Some(_) => tracing::warn!(
                name = family.name(),
                "two metrics of one name differ in kind; the second is not shown"
            ),
            None => {
                merged.insert(family.name().to_owned(), family);
            }
        }
    }
    merged.into_values().collect()
}

/// 200 while the process does its work or stops in order; 503 once something in it has broken.
async fn healthz() -> Response {
    match panics::happened() {
        false => "alive\n".into_response(),
        true => (StatusCode::SERVICE_UNAVAILABLE, "a part has panicked; stopping\n").into_response(),
    }
}

/// 200 if every service is ready; else 503 and a line per service.
async fn readyz(State(admin): State<Admin>) -> Response {
    let services = admin.services();
    let mut ready = !services.is_empty() && !admin.shutdown.is_cancelled();
    let mut text = String::new();
    if admin.shutdown.is_cancelled() {
        text.push_str("stopping\n");
    }
    for (name, deps) in services {
        let line = match deps.health.now() {
            Readiness::Ready => "ready".to_owned(),
            Readiness::NotReady(why) => {
                ready = false;
                format!("not ready: {why}")
            }
        };
        let _ = writeln!(text, "{name}: {line}");
    }
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, text).into_response()
}

#[cfg(test)]
mod tests {
    use prometheus::{IntCounter, IntGauge};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    async fn served(admin: &Admin) -> SocketAddr {
        let listener =
            tokio::net::TcpListener::from_std(bind("127.0.0.1:0".parse().unwrap()).unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(admin.clone().serve(listener));
        address
    }

    async fn fetch(address: SocketAddr, path: &str) -> String {
        let mut socket = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        answer
    }

    fn counted(deps: &Deps, name: &str, n: u64) {
        let counter = IntCounter::new(name, "Help").unwrap();
        counter.inc_by(n);
        deps.registry.register(Box::new(counter)).unwrap();
    }

    #[tokio::test]
    async fn metrics_of_all_services_are_shown_once_each() {
        let admin = Admin::new(Registry::new(), CancellationToken::new());
        for (service, n) in [("room", 1), ("saver", 2)] {
            let deps = Deps::named(service);
            counted(&deps, "longline_rpc_calls_total", n);
            admin.add(service, deps);
        }
        let other = Deps::named("other");
        other
            .registry
            .register(Box::new(IntGauge::new("longline_rpc_calls_total", "Help").unwrap()))
            .unwrap();
        admin.add("other", other);
        let text = fetch(served(&admin).await, "/metrics").await;
        assert_eq!(text.matches("# TYPE longline_rpc_calls_total counter").count(), 1, "{text}");
        assert!(text.contains("longline_rpc_calls_total{service=\"room\"} 1\n"), "{text}");
        assert!(text.contains("longline_rpc_calls_total{service=\"saver\"} 2\n"), "{text}");
        assert!(!text.contains("service=\"other\""), "another kind under the same name: {text}");
    }

    #[tokio::test]
    async fn readiness_is_that_of_all_services_with_reasons() {
        let shutdown = CancellationToken::new();
        let admin = Admin::new(Registry::new(), shutdown.clone());
        let address = served(&admin).await;
        assert!(fetch(address, "/readyz").await.starts_with("HTTP/1.1 503"), "no service yet");
        let (room, saver) = (Deps::default(), Deps::default());
        admin.add("room", room.clone());
        admin.add("saver", saver.clone());
        room.health.ready();
        saver.health.not_ready("Redis is loading");
        let text = fetch(address, "/readyz").await;
        assert!(
            text.starts_with("HTTP/1.1 503")
                && text.ends_with("room: ready\nsaver: not ready: Redis is loading\n"),
            "{text}"
        );
        saver.health.ready();
        assert!(fetch(address, "/readyz").await.starts_with("HTTP/1.1 200"));
        shutdown.cancel();
        assert!(fetch(address, "/readyz").await.starts_with("HTTP/1.1 503"));
        assert!(fetch(address, "/healthz").await.starts_with("HTTP/1.1 200"));
        assert!(fetch(address, "/").await.starts_with("HTTP/1.1 404"));
    }
}
