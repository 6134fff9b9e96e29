//! The same operations over gRPC, on the same port.

use longline_pb::center::center_client::CenterClient;
use longline_pb::center::*;
use longline_pb::types::{Class, ErrorCode as PbCode, MessageState};
use longline_types::ErrorCode;
use reqwest::Method;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use crate::support::{Center, Cluster, SOON, eventually};

type Client =
    CenterClient<InterceptedService<Channel, Box<dyn FnMut(Request<()>) -> Result<Request<()>, Status>>>>;

async fn client(center: &Center, key: &str) -> Client {
    client_over(longline_rpc::endpoint(&center.address.to_string()).unwrap(), key).await
}

async fn client_over(endpoint: Endpoint, key: &str) -> Client {
    let channel = endpoint.connect().await.unwrap();
    let authorization: MetadataValue<_> = format!("Bearer {key}").parse().unwrap();
    let add = move |mut request: Request<()>| {
        request.metadata_mut().insert("authorization", authorization.clone());
        Ok(request)
    };
    CenterClient::with_interceptor(channel, Box::new(add))
}

fn send(users: &[&str], payload: &'static [u8]) -> SendRequest {
    let users = users.iter().map(|user| user.to_string()).collect();
    SendRequest { users, payload: payload.into(), ..SendRequest::default() }
}

#[tokio::test]
async fn every_operation_works() {
    let cluster = Cluster::start().await;
    let center = cluster.center().await;
    let mut client = client(&center, cluster.key.expose()).await;
    cluster.register.bind("alice", cluster.rooms[0].route(1));
    let sent = client.send(send(&["alice", "bob"], b"\0raw")).await.unwrap().into_inner().messages;
    assert_eq!(sent.iter().map(|s| s.user.as_str()).collect::<Vec<_>>(), ["alice", "bob"]);
    let id = sent[0].id;
    assert_eq!(cluster.rooms[0].handed(1).await, [("alice".into(), id, b"\0raw".to_vec())]);

    let status = client.read_message(ReadMessageRequest { id }).await.unwrap().into_inner();
    assert_eq!((status.id, status.user.as_str(), status.state.as_str()), (id, "alice", "stored"));
    assert_eq!(status.history.len(), 2);
    let recalled = client.recall(RecallRequest { id }).await.unwrap().into_inner();
    assert_eq!(recalled.state, "recalled");

    let broadcast = BroadcastRequest { payload: b"all"[..].into(), ..BroadcastRequest::default() };
    let id = client.broadcast(broadcast).await.unwrap().into_inner().id;
    let status = client.read_broadcast(ReadBroadcastRequest { id }).await.unwrap().into_inner();
    assert_eq!(status.id, id);
    assert!(status.expires_at_ms > status.created_at_ms);

    let user = client.read_user(ReadUserRequest { user: "bob".into() }).await.unwrap().into_inner();
    assert_eq!((user.user.as_str(), user.presence.as_str()), ("bob", "offline"));
    let kick = KickRequest { user: "alice".into(), detail: "bye".into() };
    assert!(client.kick(kick).await.unwrap().into_inner().kicked);
    let http =
        center.bare(Method::GET, "/v1/users/bob").bearer_auth(cluster.key.expose()).send().await.unwrap();
    assert_eq!(http.status(), 200, "HTTP on the same port");
    assert_eq!(center.counter(r#"longline_center_requests_total{route="grpc Send",status="ok"}"#), 1);
}

#[tokio::test]
async fn errors_have_a_status_and_a_reason() {
    let cluster = Cluster::start().await;
    let center = cluster.center().await;
    let mut client = client(&center, cluster.key.expose()).await;
    let reason =
        |status: &Status| status.metadata().get("longline-reason").unwrap().to_str().unwrap().to_owned();
    let error = client.send(send(&[], b"x")).await.unwrap_err();
    assert_eq!((error.code(), reason(&error).as_str()), (Code::InvalidArgument, "invalid_argument"));
    let long = "x".repeat(129);
    let error = client.send(send(&[&long], b"x")).await.unwrap_err();
    assert_eq!((error.code(), reason(&error).as_str()), (Code::InvalidArgument, "invalid_user"));
    let unknown = SendRequest { class: 9, ..send(&["a"], b"x") };
    assert_eq!(client.send(unknown).await.unwrap_err().code(), Code::InvalidArgument);
    let large = SendRequest { payload: vec![0; 65_537].into(), ..send(&["a"], b"") };
    assert_eq!(reason(&client.send(large).await.unwrap_err()), "payload_too_large");
    let error = client.read_message(ReadMessageRequest { id: 1 }).await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
    let id = center.send("a", serde_json::json!(1)).await;
    cluster.saver.end(id, MessageState::Expired);
    let error = client.recall(RecallRequest { id }).await.unwrap_err();
    assert_eq!((error.code(), reason(&error).as_str()), (Code::AlreadyExists, "already_ended"));

    let mut stranger = self::client(&center, "nonsense").await;
    let error = stranger.send(send(&["a"], b"x")).await.unwrap_err();
    assert_eq!(error.code(), Code::Unauthenticated);
    let error = stranger.send_stream(tokio_stream::empty()).await.unwrap_err();
    assert_eq!(error.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn an_unknown_grpc_method_is_unimplemented() {
    let cluster = Cluster::start().await;
    let center = cluster.center().await;
    for path in ["/longline.center.v1.Center/Nothing", "/other.Service/Nothing"] {
        let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
        let request = client.post(format!("http://{}{path}", center.address));
        let response = request.header("content-type", "application/grpc").send().await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["grpc-status"]),
            (200, &"12".parse().unwrap())
        );
    }
}

#[tokio::test]
async fn a_stream_of_sends_is_answered_and_hinted_in_its_order_d7() {
    let cluster = Cluster::start().await;
    let center = cluster.center().await;
    let mut client = client(&center, cluster.key.expose()).await;
    let room = &cluster.rooms[0];
    cluster.register.bind("alice", room.route(1));
    cluster.saver.refuse("full", &[ErrorCode::ResourceExhausted]);
    // The first put is stored last.
    cluster.saver.refuse("alice", &[ErrorCode::Unavailable]);
    let mut requests: Vec<SendRequest> = (0..300).map(|_| send(&["alice"], b"x")).collect();
    requests.insert(1, send(&[], b"refused"));
    requests.insert(2, send(&["full"], b"x"));
    requests.insert(3, SendRequest { class: Class::Transient.into(), ..send(&["alice"], b"typing") });
    let replies = client.send_stream(tokio_stream::iter(requests)).await.unwrap().into_inner();
    let replies: Vec<SendReply> = replies.map(Result::unwrap).collect().await;
    assert_eq!(replies.len(), 303);
    assert_eq!(replies[1].error.as_ref().unwrap().code(), PbCode::InvalidArgument);
    assert_eq!(replies[2].error.as_ref().unwrap().code(), PbCode::ResourceExhausted);
    let accepted: Vec<u64> = replies.iter().flat_map(|r| &r.messages).map(|m| m.id).collect();
    assert_eq!(accepted.len(), 301);
    assert!(accepted.is_sorted());
    let handed: Vec<u64> = room.handed(301).await.iter().map(|(_, id, _)| *id).collect();
    assert_eq!(handed, accepted);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_not_read_from_either() {
    let cluster = Cluster::start().await;
    let center = cluster.center().await;
    let endpoint = longline_rpc::endpoint(&center.address.to_string()).unwrap();
    let small = endpoint.initial_stream_window_size(65_535).initial_connection_window_size(65_535);
    let mut client = client_over(small, cluster.key.expose()).await;
    let (requests, outgoing) = tokio::sync::mpsc::channel(1);
    // Long names make long replies, which fill the window soon.
    let users: Vec<String> = (0..1000).map(|n| format!("{n:0>128}")).collect();
    let request = SendRequest { users, payload: b"x"[..].into(), ..SendRequest::default() };
    let mut replies = client.send_stream(ReceiverStream::new(outgoing)).await.unwrap().into_inner();
    let mut taken = 0;
    while taken < 100 && tokio::time::timeout(SOON / 20, requests.send(request.clone())).await.is_ok() {
        taken += 1;
    }
    assert!(taken < 100, "it was held up");
    drop(requests);
    let mut answered = 0;
    while let Some(reply) = replies.next().await {
        assert_eq!(reply.unwrap().messages.len(), 1000);
        answered += 1;
    }
    assert_eq!(answered, taken, "and nothing was lost");
}

#[tokio::test]
async fn a_stream_ends_with_the_center_and_with_its_product() {
    let cluster = Cluster::start().await;
    // Long enough that only the stream's own end can explain the stop.
    let center = cluster.center_with(|config| config.node.shutdown_s = 600).await;
    let mut client = client(&center, cluster.key.expose()).await;
    let (requests, outgoing) = tokio::sync::mpsc::channel(1);
    let mut replies = client.send_stream(ReceiverStream::new(outgoing)).await.unwrap().into_inner();
    requests.send(send(&["a"], b"x")).await.unwrap();
    assert!(replies.next().await.unwrap().unwrap().error.is_none());
    let product = cluster.saver.product(crate::support::PRODUCT).unwrap();
    cluster.saver.store_product(longline_pb::saver::Product { disabled: true, revision: 2, ..product });
    let refused = longline_testkit::eventually_some(SOON, "a refusal", async || {
        requests.send(send(&["a"], b"x")).await.unwrap();
        replies.next().await.unwrap().unwrap().error
    });
    assert_eq!(refused.await.code(), PbCode::PermissionDenied);
    center.stop().await;
    eventually("the stream has ended", || requests.is_closed()).await;
}
