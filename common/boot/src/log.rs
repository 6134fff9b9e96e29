//! Tracing to stderr, as text or JSON.

use std::io::IsTerminal as _;

use anyhow::Context as _;
use longline_config::{LogConfig, LogFormat};
use tracing_subscriber::EnvFilter;

/// Starts tracing for the process. `RUST_LOG` wins over the configured level.
pub(crate) fn start(config: &LogConfig) -> anyhow::Result<()> {
    let (from, directives) = match std::env::var("RUST_LOG") {
        Ok(value) if !value.is_empty() => ("RUST_LOG", value),
        _ => ("`level` in [node.log]", config.level.clone()),
    };
    let filter = EnvFilter::try_new(&directives)
        .with_context(|| format!("{from} is \"{directives}\", which is no filter; write for example \"info\" or \"info,longline_room=debug\""))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    }
    .map_err(|error| anyhow::anyhow!("tracing runs already in this process: {error}"))
}
