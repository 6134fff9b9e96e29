//! The scripts that run inside Redis, where something must be compared before it is changed. What each does, takes and
//! returns is at the head of its file.

use std::sync::LazyLock;

use redis::{Cmd, ToRedisArgs};

/// A script that is called by its hash.
pub(super) struct Script {
    source: String,
    hash: String,
}

const FILLED: &str = include_str!("scripts/filled.lua");
const TAKE: &str = include_str!("scripts/take.lua");

macro_rules! scripts {
    ($($name:ident = $($part:expr),+;)*) => {
        $(pub(super) static $name: LazyLock<Script> = LazyLock::new(|| Script::new(&[$($part),+]));)*
        /// Every script, to make a Redis process know them.
        pub(super) fn all() -> Vec<&'static Script> {
            vec![$(&$name),*]
        }
    };
}

scripts! {
    STORE = FILLED, TAKE, include_str!("scripts/store.lua");
    REMOVE = TAKE, include_str!("scripts/remove.lua");
    PEEK = include_str!("scripts/peek.lua");
    LOOK = FILLED, include_str!("scripts/look.lua");
    PAGE = FILLED, TAKE, include_str!("scripts/page.lua");
    COUNT = FILLED, include_str!("scripts/count.lua");
    CLAIM = include_str!("scripts/claim.lua");
    MARK = include_str!("scripts/mark.lua");
    CURSOR = include_str!("scripts/cursor.lua");
}

impl Script {
    fn new(parts: &[&str]) -> Script {
        let source = parts.concat();
        let hash = redis::Script::new(&source).get_hash().to_owned();
        Script { source, hash }
    }

    /// The command that runs it with these keys; arguments are added by the caller.
    pub(super) fn call<K: ToRedisArgs>(&self, keys: &[K]) -> Cmd {
        let mut command = redis::cmd("EVALSHA");
        command.arg(&self.hash).arg(keys.len());
        for key in keys {
            command.arg(key);
        }
        command
    }

    /// The command that makes a Redis process know it.
    pub(super) fn load(&self) -> Cmd {
        let mut command = redis::cmd("SCRIPT");
        command.arg("LOAD").arg(&self.source);
        command
    }
}
