//! Unicasts over streams of the gRPC service.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use longline_load_truth::{Clock, Header, Ledger, Received};
use longline_pb::center::center_server::{Center, CenterServer};
use longline_pb::center::{
    BroadcastReply, BroadcastRequest, BroadcastStatus, KickReply, KickRequest, MessageStatus,
    ReadBroadcastRequest, ReadMessageRequest, ReadUserRequest, RecallRequest, SendReply, SendRequest, Sent,
    UserStatus,
};
use longline_pb::types::{Error, ErrorCode};
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

use super::{Sender, ledger, load, open};
use crate::{Api, Unicasts, Via};

const LONG: Duration = Duration::from_secs(10);

/// What it does with a request, by how many came before.
type Behave = fn(usize) -> Do;

enum Do {
    Accept,
    Refuse(ErrorCode),
    /// The second user only.
    Partly(ErrorCode),
    /// Ends the stream without a reply.
    Break,
    Ignore,
}

#[derive(Clone)]
struct Server {
    behave: Behave,
    requests: Arc<Mutex<Vec<SendRequest>>>,
    ids: Arc<Mutex<BTreeMap<(String, String), u64>>>,
    ledger: Arc<Ledger>,
    clock: Clock,
}

impl Server {
    async fn start(ledger: &Arc<Ledger>, behave: Behave) -> (Server, Api) {
        let server = Server {
            behave,
            requests: Arc::default(),
            ids: Arc::default(),
            ledger: Arc::clone(ledger),
            clock: Clock::new(),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let incoming = TcpListenerStream::new(listener);
        let serving = tonic::transport::Server::builder()
            .add_service(CenterServer::new(server.clone()))
            .serve_with_incoming(incoming);
        tokio::spawn(serving);
        (server, Api { centers: vec![url], key: "ll_1_x".to_owned(), injector: None })
    }

    fn requests(&self) -> Vec<SendRequest> {
        self.requests.lock().unwrap().clone()
    }

    fn accept(&self, request: &SendRequest, but: Option<ErrorCode>) -> SendReply {
        let mut ids = self.ids.lock().unwrap();
        let mut sent = |(place, user): (usize, &String)| {
            let refused = but.filter(|_| place == 1);
            if let Some(code) = refused {
                return Sent { user: user.clone(), id: 0, error: Some(error(code)) };
            }
            let (new, next) = (ids.len(), ids.len() as u64 + 1);
            let id = *ids.entry((request.idempotency_key.clone(), user.clone())).or_insert(next);
            if ids.len() > new {
                let push = Received { id, payload: &request.payload, redelivered: false };
                let number = user.strip_prefix("u-").unwrap().parse().unwrap();
                self.ledger.received(number, 1, &push, self.clock.now());
            }
            Sent { user: user.clone(), id, error: None }
        };
        SendReply { messages: request.users.iter().enumerate().map(&mut sent).collect(), error: None }
    }
}

fn error(code: ErrorCode) -> Error {
    Error { code: code.into(), message: "as told".to_owned() }
}

#[tonic::async_trait]
impl Center for Server {
    type SendStreamStream = ReceiverStream<Result<SendReply, Status>>;

    async fn send_stream(
        &self,
        request: Request<Streaming<SendRequest>>,
    ) -> Result<Response<Self::SendStreamStream>, Status> {
        assert_eq!(request.metadata().get("authorization").unwrap(), "Bearer ll_1_x");
        let (replies, stream) = mpsc::channel(16);
        let (server, mut requests) = (self.clone(), request.into_inner());
        tokio::spawn(async move {
            while let Ok(Some(request)) = requests.message().await {
                let before = {
                    let mut requests = server.requests.lock().unwrap();
                    requests.push(request.clone());
                    requests.len() - 1
                };
                let reply = match (server.behave)(before) {
                    Do::Accept => server.accept(&request, None),
                    Do::Refuse(code) => SendReply { messages: vec![], error: Some(error(code)) },
                    Do::Partly(code) => server.accept(&request, Some(code)),
                    Do::Break => {
                        server.accept(&request, None);
                        return;
                    }
                    Do::Ignore => continue,
                };
                if replies.send(Ok(reply)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn send(&self, _: Request<SendRequest>) -> Result<Response<SendReply>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn read_message(&self, _: Request<ReadMessageRequest>) -> Result<Response<MessageStatus>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn recall(&self, _: Request<RecallRequest>) -> Result<Response<MessageStatus>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn broadcast(&self, _: Request<BroadcastRequest>) -> Result<Response<BroadcastReply>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn read_broadcast(
        &self,
        _: Request<ReadBroadcastRequest>,
    ) -> Result<Response<BroadcastStatus>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn read_user(&self, _: Request<ReadUserRequest>) -> Result<Response<UserStatus>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn kick(&self, _: Request<KickRequest>) -> Result<Response<KickReply>, Status> {
        Err(Status::unimplemented(""))
    }
}

#[tokio::test]
async fn replies_are_matched_in_order() {
    let ledger = ledger();
    let refuse_tenth = |n| if n % 10 == 9 { Do::Refuse(ErrorCode::ResourceExhausted) } else { Do::Accept };
    let (server, api) = Server::start(&ledger, refuse_tenth).await;
    let load = Unicasts { ttl_s: Some(60), ..load(open(3_000.0), Via::Grpc { users: 1 }) };
    let sender = Sender::start(load, api, ledger.clone(), LONG);
    let counts = sender.until("500 accepted", |s| s.ledger.counts().accepted >= 500).await;
    let (truth, requests) = (ledger.counts(), server.requests());
    assert_eq!((truth.planned, truth.refused), (requests.len() as u64, requests.len() as u64 / 10));
    assert_eq!((truth.accepted, truth.received), (truth.planned - truth.refused, truth.accepted));
    assert_eq!((truth.foreign, truth.duplicated, truth.reordered), (0, 0, 0));
    assert_eq!(counts.refused, [("resource_exhausted".to_owned(), truth.refused)].into());
    assert_eq!((counts.requests, counts.answered, counts.connects), (truth.planned, truth.planned, 4));
    for request in requests {
        let header = Header::read(&request.payload).unwrap();
        assert_eq!((request.users, request.payload.len()), (vec![format!("u-{}", header.user)], 100));
        assert_eq!(request.ttl_seconds, 60);
    }
}

#[tokio::test]
async fn what_a_broken_stream_left_is_sent_again() {
    let ledger = ledger();
    let (server, api) = Server::start(&ledger, |n| if n == 20 { Do::Break } else { Do::Accept }).await;
    let load = Unicasts { connections: 1, ..load(open(5_000.0), Via::Grpc { users: 1 }) };
    let sender = Sender::start(load, api, ledger.clone(), LONG);
    let counts = sender.until("300 accepted", |s| s.ledger.counts().accepted >= 300).await;
    let truth = ledger.counts();
    assert_eq!((truth.accepted, truth.received), (truth.planned, truth.planned));
    assert_eq!((truth.duplicated, truth.foreign, truth.reordered), (0, 0, 0));
    assert!(counts.connects == 2 && counts.repeats > 0, "{counts:?}");
    let requests = server.requests();
    let again = requests.iter().filter(|r| r.idempotency_key == requests[20].idempotency_key);
    assert_eq!(again.map(|r| &r.payload).collect::<Vec<_>>(), [&requests[20].payload; 2]);
}

#[tokio::test]
async fn a_batch_that_was_taken_in_part_is_asked_for_the_rest() {
    let ledger = ledger();
    let doubt_first = |n| if n == 0 { Do::Partly(ErrorCode::DeadlineExceeded) } else { Do::Accept };
    let (server, api) = Server::start(&ledger, doubt_first).await;
    let load = Unicasts { connections: 1, ..load(open(20_000.0), Via::Grpc { users: 25 }) };
    let sender = Sender::start(load, api, ledger.clone(), LONG);
    sender.until("10 batches", |s| s.ledger.counts().accepted >= 250).await;
    let (truth, requests) = (ledger.counts(), server.requests());
    assert_eq!((truth.accepted, truth.received, truth.foreign), (truth.planned, truth.planned, 0));
    let rest = requests.iter().find(|request| request.users.len() == 1).unwrap();
    assert_eq!(rest.users[0], requests[0].users[1]);
    assert_eq!((&rest.idempotency_key, &rest.payload), (&requests[0].idempotency_key, &requests[0].payload));
}

#[tokio::test]
async fn who_never_replies_is_given_up_and_no_more_than_the_bound_is_under_way() {
    let ledger = ledger();
    let (server, api) = Server::start(&ledger, |_| Do::Ignore).await;
    let load = Unicasts { connections: 1, idempotent: false, ..load(open(20_000.0), Via::Grpc { users: 1 }) };
    let sender = Sender::start(load, api, ledger.clone(), Duration::from_millis(500));
    let counts = sender.until("some are given up", |s| s.ledger.counts().unknown > 0).await;
    let truth = ledger.counts();
    assert_eq!(counts.in_flight_max, 1024);
    assert_eq!(truth.planned, truth.unknown + truth.skipped);
    assert_eq!(counts.unknown.keys().collect::<Vec<_>>(), ["no_answer"]);
    assert_eq!(server.requests().len() as u64, counts.requests);
}
