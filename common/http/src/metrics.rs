use prometheus::{IntCounter, IntGauge, Registry};

/// What the port shows of itself.
#[derive(Clone, Debug)]
pub struct HttpMetrics {
    pub(crate) connections: IntGauge,
    pub(crate) refused: IntCounter,
}

impl HttpMetrics {
    /// Registers `longline_http_connections` and `longline_http_connections_refused_total`; once per registry.
    pub fn register(registry: &Registry) -> Result<HttpMetrics, prometheus::Error> {
        let connections = IntGauge::new("longline_http_connections", "Connections that are open.")?;
        let refused = IntCounter::new(
            "longline_http_connections_refused_total",
            "Connections closed as they came, since there were too many.",
        )?;
        registry.register(Box::new(connections.clone()))?;
        registry.register(Box::new(refused.clone()))?;
        Ok(HttpMetrics { connections, refused })
    }
}
