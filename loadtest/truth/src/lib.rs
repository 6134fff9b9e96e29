//! What the load tester knows of every message: ledger, latencies, verdict.
