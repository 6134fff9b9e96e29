//! The one state, and who waits for what of it.

use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use crate::injectors::Serial;
use crate::post::Post;

/// The state behind a lock that is held for a batch at a time and never over an await.
pub(crate) struct Shared {
    post: Mutex<Post>,
    /// There is something to look up or to deliver.
    pub(crate) work: Notify,
    /// There is space again.
    space: Notify,
}

impl Shared {
    pub(crate) fn new(post: Post) -> Shared {
        Shared { post: Mutex::new(post), work: Notify::new(), space: Notify::new() }
    }

    /// Does something with the state, and wakes up whom it concerns.
    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut Post) -> R) -> R {
        let mut post = self.post.lock().unwrap_or_else(PoisonError::into_inner);
        let was_full = post.is_full();
        let result = act(&mut post);
        post.injectors.wake();
        let (has_work, has_space) = (post.has_work(), was_full && !post.is_full());
        drop(post);
        if has_work {
            self.work.notify_one();
        }
        if has_space {
            self.space.notify_waiters();
        }
        result
    }

    /// An injector has read some of its reports.
    pub(crate) fn reports_shrank(&self) {
        self.space.notify_waiters();
    }

    /// Until there is space for more of an injector, and it reads what it is told.
    pub(crate) async fn space_for(&self, serial: Serial) {
        loop {
            let mut freed = std::pin::pin!(self.space.notified());
            freed.as_mut().enable();
            let holds_up = self.with(|post| {
                let is_full = post.is_full();
                post.injectors.get_mut(serial).is_some_and(|injector| is_full || injector.reports.is_long())
            });
            if !holds_up {
                return;
            }
            freed.await;
        }
    }
}
