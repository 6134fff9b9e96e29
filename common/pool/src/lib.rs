//! Task pools: a fixed number of workers over a bounded queue, keyed where order matters.
