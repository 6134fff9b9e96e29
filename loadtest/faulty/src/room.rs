//! The port for devices.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::{Shared, connection};

/// Connections at once. Those beyond are closed as they come.
const CONNECTIONS: usize = 20_000;
/// After an accept that failed, for want of files say.
const PAUSE: Duration = Duration::from_millis(50);

/// Serves devices until the server stops.
pub(crate) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) if connections.len() < CONNECTIONS => {
                    connections.spawn(one(socket, shared.clone()));
                }
                Ok(_) => {}
                Err(_) => tokio::time::sleep(PAUSE).await,
            },
        }
    }
}

async fn one(socket: TcpStream, shared: Arc<Shared>) {
    let end = shared.connection_token();
    tokio::select! {
        biased;
        () = end.cancelled() => {}
        () = async {
            if shared.mute {
                listen_in_silence(socket).await;
            } else {
                connection::serve(socket, &shared).await;
            }
        } => {}
    }
}

/// Reads until the device gives up.
async fn listen_in_silence(mut socket: TcpStream) {
    let mut waste = [0; 1024];
    while socket.read(&mut waste).await.is_ok_and(|read| read > 0) {}
}
