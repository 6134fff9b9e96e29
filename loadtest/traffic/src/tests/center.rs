//! A center over HTTP that answers as it is told.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use longline_load_truth::{Clock, Ledger, Received};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::Api;
use crate::http::body::{Whole, read};

/// What it does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Behave {
    /// Accepts all, and the users get it.
    Accept,
    /// Accepts it after so long.
    After(Duration),
    /// A problem with this code, and the header Retry-After if not 0.
    Problem(u16, &'static str, u32),
    /// Accepts all but the user at this place.
    Partly(usize, &'static str),
    /// Accepts it and breaks the connection in place of an answer.
    Break,
    Never,
    /// 202 with this body.
    Say(&'static str),
}

/// A request it got.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) path: String,
    pub(crate) authorization: String,
    pub(crate) key: String,
    pub(crate) body: Value,
    pub(crate) at: std::time::Instant,
}

impl Call {
    /// The users' numbers.
    pub(crate) fn users(&self) -> Vec<u32> {
        let to = &self.body["to"];
        let names: Vec<&Value> =
            to["users"].as_array().map_or(vec![&to["user"]], |users| users.iter().collect());
        names.iter().map(|name| name.as_str().unwrap().strip_prefix("u-").unwrap().parse().unwrap()).collect()
    }

    pub(crate) fn payload(&self) -> Vec<u8> {
        STANDARD.decode(self.body["payload_base64"].as_str().unwrap()).unwrap()
    }
}

pub(crate) struct Center {
    pub(crate) url: String,
    shared: Arc<Shared>,
}

struct Shared {
    /// One for each request; then `rest`.
    script: Mutex<VecDeque<Behave>>,
    rest: Behave,
    calls: Mutex<Vec<Call>>,
    /// Ids by key and user: a repeat gets the same.
    ids: Mutex<BTreeMap<(String, u32), u64>>,
    next_id: AtomicU64,
    /// Where receipts are entered.
    ledger: Arc<Ledger>,
    clock: Clock,
}

impl Center {
    /// Listens. Users get what is accepted at once.
    pub(crate) async fn start(
        ledger: &Arc<Ledger>,
        script: impl IntoIterator<Item = Behave>,
        rest: Behave,
    ) -> Center {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            script: Mutex::new(script.into_iter().collect()),
            rest,
            calls: Mutex::default(),
            ids: Mutex::default(),
            next_id: AtomicU64::new(1),
            ledger: Arc::clone(ledger),
            clock: Clock::new(),
        });
        tokio::spawn(serve(listener, Arc::clone(&shared)));
        Center { url, shared }
    }

    pub(crate) fn api(&self) -> Api {
        Api { centers: vec![self.url.clone()], key: "ll_1_x".to_owned(), injector: None }
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.shared.calls.lock().unwrap().clone()
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        stream.set_nodelay(true).unwrap();
        let shared = Arc::clone(&shared);
        let service = service_fn(move |request| answer(Arc::clone(&shared), request));
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> io::Result<Response<Whole>> {
    let (head, incoming) = request.into_parts();
    let mut body = Vec::new();
    read(incoming, 1 << 20, &mut body).await.unwrap();
    let header =
        |name: &str| head.headers.get(name).map_or(String::new(), |value| value.to_str().unwrap().to_owned());
    let call = Call {
        path: head.uri.path().to_owned(),
        authorization: header("authorization"),
        key: header("idempotency-key"),
        body: serde_json::from_slice(&body).unwrap(),
        at: std::time::Instant::now(),
    };
    shared.calls.lock().unwrap().push(call.clone());
    let behave = shared.script.lock().unwrap().pop_front().unwrap_or(shared.rest.clone());
    let broken = || io::Error::other("as told");
    match behave {
        Behave::Accept => Ok(shared.accept(&call, None)),
        Behave::After(wait) => {
            tokio::time::sleep(wait).await;
            Ok(shared.accept(&call, None))
        }
        Behave::Partly(place, code) => Ok(shared.accept(&call, Some((place, code)))),
        Behave::Problem(status, code, retry_after) => {
            let problem = json!({"type": "x", "status": status, "code": code, "detail": "as told"});
            let mut response = response(status, &problem.to_string());
            if retry_after > 0 {
                response.headers_mut().insert("retry-after", retry_after.into());
            }
            Ok(response)
        }
        Behave::Break => {
            shared.accept(&call, None);
            Err(broken())
        }
        Behave::Never => {
            std::future::pending::<()>().await;
            Err(broken())
        }
        Behave::Say(text) => Ok(response(202, text)),
    }
}

impl Shared {
    fn accept(&self, call: &Call, but: Option<(usize, &str)>) -> Response<Whole> {
        if call.path == "/v1/broadcasts" {
            return response(202, &json!({"id": self.id(call, 0).0.to_string()}).to_string());
        }
        let sent = |(place, user): (usize, u32)| match but {
            Some((other, code)) if other == place => {
                json!({"user": format!("u-{user}"), "error": {"code": code, "detail": "as told"}})
            }
            _ => {
                let (id, is_new) = self.id(call, user);
                if is_new {
                    self.deliver(user, id, &call.payload());
                }
                json!({"user": format!("u-{user}"), "id": id.to_string()})
            }
        };
        let messages: Vec<Value> = call.users().into_iter().enumerate().map(sent).collect();
        response(202, &json!({ "messages": messages }).to_string())
    }

    /// The message's id, and whether it is new.
    fn id(&self, call: &Call, user: u32) -> (u64, bool) {
        let new = || self.next_id.fetch_add(1, Relaxed);
        if call.key.is_empty() {
            return (new(), true);
        }
        let mut ids = self.ids.lock().unwrap();
        let count = ids.len();
        let id = *ids.entry((call.key.clone(), user)).or_insert_with(new);
        (id, ids.len() > count)
    }

    fn deliver(&self, user: u32, id: u64, payload: &[u8]) {
        self.ledger.bound(user, 1, 0);
        self.ledger.received(user, 1, &Received { id, payload, redelivered: false }, self.clock.now());
    }
}

fn response(status: u16, body: &str) -> Response<Whole> {
    Response::builder().status(status).body(Whole::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap()
}
