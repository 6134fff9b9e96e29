use longline_types::CloseReason;

/// Why a session is not resumed. The device gets a fresh one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NoResume {
    /// The token was not made by this process, or it was changed.
    Foreign,
    /// The session has ended: its parked time was over, it was displaced, or there was no space for it.
    Gone,
    /// The token was used before, or an earlier connection of the device comes late (R1).
    Used,
    /// The token was given to another device.
    OtherDevice,
}

impl NoResume {
    pub(super) const ALL: [NoResume; 4] =
        [NoResume::Foreign, NoResume::Gone, NoResume::Used, NoResume::OtherDevice];

    pub(super) fn name(self) -> &'static str {
        match self {
            NoResume::Foreign => "foreign",
            NoResume::Gone => "gone",
            NoResume::Used => "used",
            NoResume::OtherDevice => "other_device",
        }
    }
}

/// How a session ended that nobody resumed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ParkingEnd {
    /// Its time was over.
    Expired,
    /// Too many were parked, or they took too much memory.
    Evicted,
    /// A newer connection has bound its last address.
    Displaced,
    /// The business ended it.
    Kicked,
    /// The room is being emptied, or it could not bind anew under a new incarnation.
    Room,
}

impl ParkingEnd {
    pub(super) const ALL: [ParkingEnd; 5] = [
        ParkingEnd::Expired,
        ParkingEnd::Evicted,
        ParkingEnd::Displaced,
        ParkingEnd::Kicked,
        ParkingEnd::Room,
    ];

    /// What it is when the session is closed for this reason.
    pub(crate) fn by(reason: CloseReason) -> ParkingEnd {
        match reason {
            CloseReason::Displaced => ParkingEnd::Displaced,
            CloseReason::Kicked => ParkingEnd::Kicked,
            _ => ParkingEnd::Room,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            ParkingEnd::Expired => "expired",
            ParkingEnd::Evicted => "evicted",
            ParkingEnd::Displaced => "displaced",
            ParkingEnd::Kicked => "kicked",
            ParkingEnd::Room => "room",
        }
    }
}
