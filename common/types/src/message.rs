/// Whether a message is kept until it is acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Class {
    /// Stored before it is sent, removed on acknowledgement: at least once.
    Durable,
    /// Never stored; dropped if the user is not online.
    Transient,
}

/// What "stored" promises before the business gets its answer (S2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Durability {
    /// The database has committed.
    #[default]
    Synced,
    /// Redis has it, the database soon after. Lost if savers *and* Redis die within the flush time.
    Fast,
}

/// What becomes of a session whose device does not read as fast as messages come for it. Durable messages stay in the inbox and
/// transient ones are dropped, whichever it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum SlowReader {
    /// It goes on, and loads its inbox when it has space.
    #[default]
    Inbox,
    /// It is closed ([`CloseReason::SlowReader`](crate::CloseReason::SlowReader)), and comes back to its inbox after a wait.
    Close,
}

/// Where a durable message stands in the store: waiting, or the one reason it left (S5, I3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum MessageState {
    /// Not acknowledged yet.
    Waiting = 1,
    /// The device has it.
    Acked = 2,
    /// Its time ran out first.
    Expired = 3,
    /// A newer message with its collapse key took its place.
    Collapsed = 4,
    /// The business took it back.
    Recalled = 5,
    /// The inbox was full.
    Overflowed = 6,
    /// Set aside, since the device never acknowledges it.
    Quarantined = 7,
}

impl MessageState {
    /// Every state, waiting first.
    pub const ALL: [MessageState; 7] = [
        MessageState::Waiting,
        MessageState::Acked,
        MessageState::Expired,
        MessageState::Collapsed,
        MessageState::Recalled,
        MessageState::Overflowed,
        MessageState::Quarantined,
    ];

    /// Its name in the API and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            MessageState::Waiting => "waiting",
            MessageState::Acked => "acked",
            MessageState::Expired => "expired",
            MessageState::Collapsed => "collapsed",
            MessageState::Recalled => "recalled",
            MessageState::Overflowed => "overflowed",
            MessageState::Quarantined => "quarantined",
        }
    }

    /// The state stored under this number.
    pub fn from_number(number: u8) -> Option<MessageState> {
        MessageState::ALL.into_iter().find(|s| *s as u8 == number)
    }
}
