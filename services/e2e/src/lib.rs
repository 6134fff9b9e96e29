//! End-to-end tests: the whole cluster in one process, and real processes.
