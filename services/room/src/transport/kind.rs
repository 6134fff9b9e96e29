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

    /// Bytes that a connection takes for it, within its handshake or after, beside its buffers; rounded up.
    pub(crate) fn bytes(self, in_handshake: bool) -> usize {
        match (self, in_handshake) {
            (TransportKind::Tcp, _) => 0,
            (TransportKind::WebSocket, _) => 128,
            (TransportKind::Noise, _) => 512,
            (TransportKind::Tls | TransportKind::WebSocketTls, false) => 4 * 1024,
            (TransportKind::Tls | TransportKind::WebSocketTls, true) => 10 * 1024,
        }
    }

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
