//! What every process does: runtime, signals, tracing, panic hook, admin port, ordered shutdown.
