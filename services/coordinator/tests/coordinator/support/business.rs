//! A business's web server that answers as it is told and remembers what it got.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tokio::sync::Semaphore;

/// How it answers a call.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Behave {
    Answer(u16),
    /// Sends no answer until it is released.
    Hang,
    /// To its own path /elsewhere.
    Redirect,
}

/// A call it got.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Call {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }
}

#[derive(Clone)]
pub(crate) struct Business {
    base: String,
    /// One for each call; then always 200.
    script: Arc<Mutex<VecDeque<Behave>>>,
    calls: Arc<Mutex<Vec<Call>>>,
    gate: Arc<Semaphore>,
}

impl Business {
    pub(crate) async fn start() -> Business {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let business = Business {
            base,
            script: Arc::default(),
            calls: Arc::default(),
            gate: Arc::new(Semaphore::new(0)),
        };
        let app = Router::new().fallback(answer).with_state(business.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        business
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    pub(crate) fn behave(&self, script: impl IntoIterator<Item = Behave>) {
        self.script.lock().unwrap().extend(script);
    }

    pub(crate) fn calls(&self) -> MutexGuard<'_, Vec<Call>> {
        self.calls.lock().unwrap()
    }

    /// Lets all calls that hang, now and later, go on.
    pub(crate) fn release(&self) {
        self.gate.close();
    }
}

async fn answer(
    State(business): State<Business>,
    uri: axum::http::Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    business.calls().push(Call { path: uri.path().into(), headers, body });
    let behave = business.script.lock().unwrap().pop_front().unwrap_or(Behave::Answer(200));
    match behave {
        Behave::Answer(status) => StatusCode::from_u16(status).unwrap().into_response(),
        Behave::Redirect => {
            (StatusCode::FOUND, [(header::LOCATION, business.url("/elsewhere"))]).into_response()
        }
        Behave::Hang => {
            let _ = business.gate.acquire().await;
            StatusCode::OK.into_response()
        }
    }
}
