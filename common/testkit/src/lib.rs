//! Support for tests: scratch folders, redis-server and mariadbd on free ports, waiting for conditions.
//!
//! Whatever is started here ends with its handle, and at the latest with the process that started it, also when that is killed.
//! Nothing is written outside the scratch folders but one empty database per version of MariaDB, copied by later starts.

mod folders;
mod mariadb;
mod ports;
mod process;
mod redis;
mod wait;

pub use folders::Scratch;
pub use mariadb::{MariaDb, MariaDbOptions};
pub use ports::free_port;
pub use process::{Process, Surroundings, require};
pub use redis::{RedisOptions, RedisServer, Restart};
pub use wait::{eventually, eventually_some};
