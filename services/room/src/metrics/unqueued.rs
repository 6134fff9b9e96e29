/// What had too many unwritten bytes when a message came, and what became of the message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unqueued {
    SessionDeferred,
    SessionDropped,
    SessionClosed,
    ShardDeferred,
    ShardDropped,
}

impl Unqueued {
    pub(crate) const ALL: [Unqueued; 5] = [
        Unqueued::SessionDeferred,
        Unqueued::SessionDropped,
        Unqueued::SessionClosed,
        Unqueued::ShardDeferred,
        Unqueued::ShardDropped,
    ];

    /// The labels `full` and `outcome`.
    pub(crate) fn names(self) -> [&'static str; 2] {
        match self {
            Unqueued::SessionDeferred => ["session", "deferred"],
            Unqueued::SessionDropped => ["session", "dropped"],
            Unqueued::SessionClosed => ["session", "closed"],
            Unqueued::ShardDeferred => ["shard", "deferred"],
            Unqueued::ShardDropped => ["shard", "dropped"],
        }
    }
}
