//! `longline-loadtest agent`: one process's share of the devices and of the load, as a controller orders.

mod drive;
mod routes;
mod work;

use std::net::SocketAddr;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;

use crate::link::MAX_MESSAGE;
use crate::link::service::agent_server::AgentServer;

/// The line that an agent prints once it listens, before its address.
pub(crate) const LISTENING: &str = "agent listens on ";

/// Serves one controller after the other until `stop`.
pub(crate) async fn run(listen: SocketAddr, stop: CancellationToken) -> anyhow::Result<()> {
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    println!("{LISTENING}{}", listener.local_addr()?);
    let agent = AgentServer::new(drive::Agent::new(stop.clone()))
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE);
    tonic::transport::Server::builder()
        .tcp_nodelay(true)
        .add_service(agent)
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), stop.cancelled_owned())
        .await
        .context("the agent's server ended")
}
