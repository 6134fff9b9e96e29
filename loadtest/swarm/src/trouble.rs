//! What goes wrong with a connection without the room saying so.

use std::io;

use nix::errno::Errno;

/// A kind of trouble. Before WELCOME it is a failed connect, after it a lost connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Trouble {
    /// Nobody listens.
    Refused,
    /// The other side threw the connection away.
    Reset,
    /// The other side ended the connection without CLOSE.
    HungUp,
    /// No connection, or no WELCOME, in time.
    TimedOut,
    /// Nothing came for 1.5 heartbeats.
    Silence,
    /// The room took nothing of what was sent to it.
    Stuck,
    /// No answer to BIND.
    Unbound,
    /// What came is not the protocol.
    Protocol,
    /// This process may open no more files.
    Descriptors,
    /// The source address has no free port to this room.
    Ports,
    /// Anything else.
    Other,
}

impl Trouble {
    pub(crate) const ALL: [Trouble; 11] = [
        Trouble::Refused,
        Trouble::Reset,
        Trouble::HungUp,
        Trouble::TimedOut,
        Trouble::Silence,
        Trouble::Stuck,
        Trouble::Unbound,
        Trouble::Protocol,
        Trouble::Descriptors,
        Trouble::Ports,
        Trouble::Other,
    ];

    /// The kind of a socket's error.
    pub(crate) fn of(error: &io::Error) -> Trouble {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Trouble::Refused,
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::NotConnected => Trouble::Reset,
            io::ErrorKind::TimedOut => Trouble::TimedOut,
            io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse => Trouble::Ports,
            _ => match error.raw_os_error().map(Errno::from_raw) {
                Some(Errno::EMFILE | Errno::ENFILE) => Trouble::Descriptors,
                // What connect() says if the range of ports is used up.
                Some(Errno::EAGAIN) => Trouble::Ports,
                _ => Trouble::Other,
            },
        }
    }

    /// Whether it is this machine's, so that another room would not help.
    pub(crate) fn is_ours(self) -> bool {
        matches!(self, Trouble::Descriptors | Trouble::Ports)
    }

    /// Its name in the counts.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Trouble::Refused => "refused",
            Trouble::Reset => "reset",
            Trouble::HungUp => "hung_up",
            Trouble::TimedOut => "timed_out",
            Trouble::Silence => "silence",
            Trouble::Stuck => "stuck",
            Trouble::Unbound => "unbound",
            Trouble::Protocol => "protocol",
            Trouble::Descriptors => "no_descriptors",
            Trouble::Ports => "no_ports",
            Trouble::Other => "other",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_sockets_have_their_kinds() {
        for (errno, kind) in [
            (Errno::ECONNREFUSED, Trouble::Refused),
            (Errno::ECONNRESET, Trouble::Reset),
            (Errno::EPIPE, Trouble::Reset),
            (Errno::ETIMEDOUT, Trouble::TimedOut),
            (Errno::EMFILE, Trouble::Descriptors),
            (Errno::ENFILE, Trouble::Descriptors),
            (Errno::EADDRNOTAVAIL, Trouble::Ports),
            (Errno::EINVAL, Trouble::Other),
        ] {
            assert_eq!(Trouble::of(&io::Error::from(errno)), kind, "{errno}");
        }
    }

    #[test]
    fn kinds_are_numbered_in_order_and_named_apart() {
        for (number, kind) in Trouble::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, number);
        }
        let names: std::collections::HashSet<_> = Trouble::ALL.map(Trouble::name).into();
        assert_eq!(names.len(), Trouble::ALL.len());
    }
}
