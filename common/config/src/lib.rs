//! TOML configuration with environment overrides; unknown keys are refused with the nearest known name.
//!
//! [`load`] reads a role's configuration in three steps, the later winning: the defaults of its type, the TOML file, the
//! environment. A variable names a key by its path, upper case, joined by two underscores, after one of two prefixes:
//!
//! | variable | sets | in |
//! |---|---|---|
//! | `LONGLINE_NODE__IDC=east` | `idc` in `[node]` | every process that sees it |
//! | `LONGLINE_ROOM__NODE__RPC=0.0.0.0:7705` | `rpc` in `[node]` | rooms only; in `standalone` it is `[room.node] rpc` |
//!
//! So one environment can serve all roles of a host. The value is read as TOML (`8`, `true`, `["a:7700", "b:7700"]`) if it is
//! that and fits, else as plain text, so text needs no quotes. A variable that names no key is refused like a wrong key in the
//! file. Variables of the command-line tools ([`TOOL_VARIABLES`]) and those that Kubernetes makes for services are left alone.

mod env;
mod error;
mod load;
mod node;

pub use env::TOOL_VARIABLES;
pub use error::{ConfigError, nearest};
pub use load::{load, load_with};
pub use node::{LogConfig, LogFormat, NodeConfig, Unreachable};
