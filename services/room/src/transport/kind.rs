/// How a device is connected, as metrics tell it. A PROXY header in front makes no difference.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TransportKind {
    /// Longline over TCP.
    Tcp,
    /// Longline inside TLS.
    Tls,
    /// Longline inside WebSocket.
    WebSocket,
    /// Longline inside WebSocket inside TLS.
    WebSocketTls,
    /// Longline with its own encryption, over whatever.
    Noise,
}

impl TransportKind {
    pub(crate) const ALL: [TransportKind; 5] = [
        TransportKind::Tcp,
        TransportKind::Tls,
        TransportKind::WebSocket,
        TransportKind::WebSocketTls,
        TransportKind::Noise,
    ];

    /// Its label in metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            TransportKind::Tcp => "tcp",
            TransportKind::Tls => "tls",
            TransportKind::WebSocket => "ws",
            TransportKind::WebSocketTls => "wss",
            TransportKind::Noise => "noise",
        }
    }
}
