//! Fuzz targets: functions that take any bytes and panic if what they drive does something that it must never do.
//!
//! `cargo xtask fuzz` runs them under libFuzzer. Their seeds are in `seeds/<target>`; an input that has found a fault is kept there.
//! `tests/seeds.rs` runs them all, and some thousand inputs made from them, without a fuzzer.

mod targets;

pub use targets::codec::codec;
pub use targets::noise::noise;
pub use targets::proxy::proxy;
pub use targets::session::session;
pub use targets::websocket::websocket;

/// One target.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name, which is its program's and its folder's as well.
    pub name: &'static str,
    /// What it does with an input.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 5] = [
    Target { name: "codec", run: codec },
    Target { name: "noise", run: noise },
    Target { name: "proxy", run: proxy },
    Target { name: "session", run: session },
    Target { name: "websocket", run: websocket },
];
