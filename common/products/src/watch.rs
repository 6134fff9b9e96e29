use std::sync::Arc;
use std::time::Duration;

use longline_pb::saver::saver_client::SaverClient;
use longline_pb::saver::{ProductsEvent, WatchProductsRequest};
use longline_rpc::{MAX_MESSAGE, Peers, error};
use longline_types::{Error, ErrorCode, Node, Role};
use tokio::time::{Instant, timeout};
use tonic::Streaming;

use crate::table::Products;

/// A saver that has not sent its snapshot by then is left for another.
const FIRST_EVENT_DEADLINE: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Follows one saver's products, and another's when it fails, for ever. Keepalive ends a stream whose saver is dead.
pub(crate) async fn follow(peers: Peers, products: Arc<Products>) {
    // Each process prefers its own order of savers, so that they share the watchers.
    let key = rand::random();
    let mut failures = 0u32;
    loop {
        let began = Instant::now();
        if let Some(saver) = candidate(&peers, key, failures) {
            let why = watch(&peers, &saver, &products).await;
            tracing::debug!(saver = saver.number, error = %why, "the watch of products ended; another follows");
        }
        failures = if began.elapsed() > LONGEST_PAUSE { 0 } else { failures.saturating_add(1) };
        pause(&peers, failures).await;
    }
}

/// The saver to try: after each failure the next in this process's order.
fn candidate(peers: &Peers, key: u64, failures: u32) -> Option<Node> {
    let view = peers.view();
    let ranked = view.ranked(Role::Saver, key);
    let turn = failures as usize % ranked.len().max(1);
    ranked.get(turn).map(|node| (*node).clone())
}

/// Takes in what the saver sends until the stream ends; says why it ended.
async fn watch(peers: &Peers, saver: &Node, products: &Products) -> Error {
    let mut stream = match timeout(FIRST_EVENT_DEADLINE, open(peers, saver, products)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return error,
        Err(_) => return Error::new(ErrorCode::DeadlineExceeded, "no snapshot came in time"),
    };
    products.set_loaded();
    loop {
        match stream.message().await {
            Ok(Some(event)) => products.merge(event.products),
            Ok(None) => return Error::unavailable("the saver ended the stream"),
            Err(status) => return error(status),
        }
    }
}

/// Opens the stream and takes in its snapshot.
async fn open(peers: &Peers, saver: &Node, products: &Products) -> Result<Streaming<ProductsEvent>, Error> {
    let mut client = SaverClient::new(peers.channel(saver)?).max_decoding_message_size(MAX_MESSAGE);
    let mut stream = client.watch_products(WatchProductsRequest {}).await.map_err(error)?.into_inner();
    let first = stream.message().await.map_err(error)?;
    match first {
        Some(event) if event.snapshot => products.merge(event.products),
        _ => return Err(Error::internal("the stream did not begin with a snapshot")),
    }
    Ok(stream)
}

/// Waits, longer after each failure and never twice the same; a new view may bring a saver at once.
async fn pause(peers: &Peers, failures: u32) {
    let longest = FIRST_PAUSE.saturating_mul(1 << failures.min(10)).min(LONGEST_PAUSE);
    let pause = longest.mul_f64(rand::random_range(0.5..1.0));
    let mut views = peers.views();
    views.mark_unchanged();
    tokio::select! {
        () = tokio::time::sleep(pause) => {}
        Ok(()) = views.changed() => {}
    }
}
