//! An injector's connection: orders in, reports out.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use longline_load_raw::{BATCH, InjectError, Order, PREFACE, take_whole};
use longline_pb::types::Message;
use longline_types::now_ms;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::injectors::Serial;
use crate::shared::Shared;

/// Read at once.
const READ: usize = 256 * 1024;
/// Orders followed at once.
const ORDERS: usize = 1024;
/// In which an injector takes not a single byte.
const STALL: Duration = Duration::from_secs(60);
/// After a failure to accept.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves injectors until `stop`. Broadcasts go to `walks`.
pub(crate) async fn serve(
    listener: TcpListener,
    shared: Arc<Shared>,
    walks: mpsc::Sender<Message>,
    stop: CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, from)) => {
                let serving = one(socket, from, Arc::clone(&shared), walks.clone());
                tokio::spawn(stop.clone().run_until_cancelled_owned(serving));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept injectors");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn one(socket: TcpStream, from: SocketAddr, shared: Arc<Shared>, walks: mpsc::Sender<Message>) {
    let wake = Arc::new(Notify::new());
    let Some(serial) = shared.with(|post| post.connect(Arc::clone(&wake))) else {
        return tracing::warn!(%from, "too many injectors");
    };
    if let Err(error) = socket.set_nodelay(true) {
        tracing::warn!(%from, %error, "an injector's small writes may wait");
    }
    let (reading, writing) = socket.into_split();
    let ended = tokio::select! {
        ended = read(reading, serial, &shared, &walks) => ended,
        ended = write(writing, serial, &shared, &wake) => ended,
    };
    shared.with(|post| post.disconnect(serial));
    if let Err(error) = ended {
        tracing::warn!(%from, %error, "an injector is given up");
    }
}

/// Follows the orders until there are no more.
async fn read(
    mut socket: OwnedReadHalf,
    serial: Serial,
    shared: &Shared,
    walks: &mpsc::Sender<Message>,
) -> Result<(), InjectError> {
    let mut input = BytesMut::new();
    while input.len() < PREFACE.len() {
        if socket.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
    }
    if !input.starts_with(&PREFACE) {
        return Err(InjectError::Malformed("it does not begin as an injector does"));
    }
    input.advance(PREFACE.len());
    loop {
        let orders = orders(&mut input)?;
        if orders.is_empty() {
            input.reserve(READ);
            if socket.read_buf(&mut input).await? == 0 {
                return Ok(());
            }
            continue;
        }
        shared.space_for(serial).await;
        let broadcasts = shared.with(|post| post.follow(serial, orders, now_ms()));
        let broadcasts = broadcasts.map_err(|error| InjectError::Ended(format!(": {error}")))?;
        for broadcast in broadcasts {
            let ended = |_| InjectError::Ended(": the backend stops".to_owned());
            walks.send(broadcast).await.map_err(ended)?;
        }
    }
}

/// Those of the batches that are there as a whole, up to a number.
fn orders(input: &mut BytesMut) -> Result<Vec<Order>, InjectError> {
    let mut orders = Vec::new();
    while orders.len() < ORDERS
        && let Some(batch) = take_whole(input, BATCH)?
    {
        let mut batch = batch.freeze();
        while !batch.is_empty() {
            orders.push(Order::take(&mut batch)?);
        }
    }
    Ok(orders)
}

/// Writes what there is to report, whenever there is something.
async fn write(
    mut socket: OwnedWriteHalf,
    serial: Serial,
    shared: &Shared,
    wake: &Notify,
) -> Result<(), InjectError> {
    let mut bytes = Vec::new();
    loop {
        wake.notified().await;
        shared.with(|post| {
            let Some(injector) = post.injectors.get_mut(serial) else { return };
            injector.reports.end();
            bytes.extend_from_slice(injector.reports.unwritten());
            injector.reports.advance(bytes.len());
        });
        shared.reports_shrank();
        let stalled = |_| io::Error::new(io::ErrorKind::TimedOut, "it reads nothing any more");
        timeout(STALL, socket.write_all(&bytes)).await.map_err(stalled)??;
        bytes.clear();
    }
}
