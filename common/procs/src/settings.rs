//! The configuration file of each process.

use std::path::Path;

use longline_types::Role;
use toml::{Table, Value, toml};

/// What the processes of one cluster share.
pub(crate) struct Shared {
    /// URL of the database.
    pub(crate) mysql: String,
    /// URL of Redis.
    pub(crate) redis: String,
    /// File with the admin key.
    pub(crate) admin_key: String,
    /// host:port; none for the keeper itself.
    pub(crate) keeper: Option<String>,
}

/// The configuration of a process: ports chosen by the kernel, its files in `folder`.
pub(crate) fn settings(role: Role, name: &str, folder: &Path, shared: &Shared) -> Table {
    let mut table = toml! {
        [node]
        rpc = "127.0.0.1:0"
        admin = "127.0.0.1:0"
        shutdown_s = 5
    };
    lay_over(&mut table, node(name, shared));
    let path = folder.to_string_lossy().into_owned();
    lay_over(&mut table, own(role, path, shared));
    table
}

/// Puts `over` onto `table`: sections are merged, values replaced.
pub(crate) fn lay_over(table: &mut Table, over: Table) {
    for (key, value) in over {
        match (table.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => lay_over(below, above),
            (_, value) => {
                table.insert(key, value);
            }
        }
    }
}

fn node(name: &str, shared: &Shared) -> Table {
    let keepers: Vec<Value> = shared.keeper.iter().map(|k| k.clone().into()).collect();
    let node = Table::from_iter([("name".to_owned(), name.into()), ("keepers".to_owned(), keepers.into())]);
    Table::from_iter([("node".to_owned(), node.into())])
}

/// What the role needs beyond `[node]`.
fn own(role: Role, folder: String, shared: &Shared) -> Table {
    let (mysql, redis, admin_key) = (&shared.mysql, &shared.redis, &shared.admin_key);
    let text = match role {
        Role::Keeper => format!("data = '{folder}/data'\n"),
        Role::Saver => format!("[store]\nkind = 'cluster'\nmysql = ['{mysql}']\nredis = '{redis}'\n"),
        Role::Room => "listen = '127.0.0.1:0'\n".to_owned(),
        Role::Center => format!("admin_key_file = '{admin_key}'\n"),
        Role::Register | Role::Coordinator | Role::Dispatcher => String::new(),
    };
    toml::from_str(&text).expect("written here")
}
