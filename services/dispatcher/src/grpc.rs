//! The same answers over gRPC.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::extract::ConnectInfo;
use longline_pb::dispatcher::dispatcher_server::{Dispatcher, DispatcherServer};
use longline_pb::dispatcher::{RouteReply, RouteRequest};
use longline_rpc::status;
use tonic::{Request, Response, Status};

use crate::dispatch::Group;
use crate::http::{Api, client};
use crate::query::Query;

/// Longest request taken, in bytes.
const MAX_REQUEST: usize = 16 * 1024;

struct Grpc(Api);

pub(crate) fn routes(api: Api) -> axum::Router {
    let server = DispatcherServer::new(Grpc(api)).max_decoding_message_size(MAX_REQUEST);
    tonic::service::Routes::new(server).into_axum_router().reset_fallback()
}

#[tonic::async_trait]
impl Dispatcher for Grpc {
    async fn route(&self, request: Request<RouteRequest>) -> Result<Response<RouteReply>, Status> {
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
        let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(peer)| peer.ip());
        let client = client(peer, request.metadata().as_ref(), self.0.trusted_proxies);
        let answer = self.0.dispatch.answer(client, Query::of_request(request.into_inner()));
        let Group { endpoints, ttl_s, noise_keys } = answer.map_err(status)?;
        Ok(Response::new(RouteReply { endpoints, ttl_s, noise_keys }))
    }
}
