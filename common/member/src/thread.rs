//! The thread on which the lease is kept and the view followed.

use std::io;
use std::sync::Arc;
use std::thread;

use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::shared::Shared;
use crate::{JoinError, Options, lease, view};

/// Starts it; it ends when the guard is dropped. Returns what joining will bring.
pub(crate) fn start(
    options: Options,
) -> io::Result<(DropGuard, impl Future<Output = Result<Arc<Shared>, JoinError>>)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let end = CancellationToken::new();
    let (to, joined) = oneshot::channel();
    let work = work(options, end.clone(), to);
    thread::Builder::new().name("member".into()).spawn(move || runtime.block_on(work))?;
    // Without a word the thread has ended, which only the guard makes it do.
    let joined = async { joined.await.unwrap_or(Err(JoinError::Shutdown)) };
    Ok((end.drop_guard(), joined))
}

async fn work(
    options: Options,
    end: CancellationToken,
    joined: oneshot::Sender<Result<Arc<Shared>, JoinError>>,
) {
    let joining = lease::join(options, end.child_token());
    let Some(result) = end.run_until_cancelled(joining).await else { return };
    let result = result.map(Arc::new);
    if let Ok(shared) = &result {
        tokio::spawn(lease::keep(shared.clone()));
        tokio::spawn(view::follow(shared.clone()));
    }
    let _ = joined.send(result);
    // The keepers' connections live here too: a node that leaves still needs them.
    end.cancelled().await;
}
