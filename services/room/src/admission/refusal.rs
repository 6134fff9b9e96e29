/// Why a connection may not begin a session now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refusal {
    /// The links are behind, or as many binds as may wait for their answer do.
    Overloaded,
    /// More HELLOs a second than the room takes.
    HelloRate,
    /// The room has as many connections as it may.
    Sessions,
    /// As many connections as may, in number or memory, have not said who they are.
    Unauthenticated,
    /// The connections take as much memory as they may.
    Memory,
    /// The process may open no more files.
    OpenFiles,
    /// The room is being emptied.
    Draining,
    /// Its address is on the deny list, or not on the allow list.
    Denied,
    /// Its address has as many connections as it may.
    PerIpConnections,
    /// Its address connects more often than it may.
    PerIpRate,
}

impl Refusal {
    /// Every reason.
    pub(crate) const ALL: [Refusal; 10] = [
        Refusal::Overloaded,
        Refusal::HelloRate,
        Refusal::Sessions,
        Refusal::Unauthenticated,
        Refusal::Memory,
        Refusal::OpenFiles,
        Refusal::Draining,
        Refusal::Denied,
        Refusal::PerIpConnections,
        Refusal::PerIpRate,
    ];

    /// Its name in metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Refusal::Overloaded => "overloaded",
            Refusal::HelloRate => "hello_rate",
            Refusal::Sessions => "sessions",
            Refusal::Unauthenticated => "unauthenticated",
            Refusal::Memory => "memory",
            Refusal::OpenFiles => "open_files",
            Refusal::Draining => "draining",
            Refusal::Denied => "denied",
            Refusal::PerIpConnections => "per_ip_connections",
            Refusal::PerIpRate => "per_ip_rate",
        }
    }
}
