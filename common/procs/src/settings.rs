//! The configuration file of each process.

use std::path::Path;

use anyhow::Context as _;
use longline_types::Role;
use toml::{Table, Value, toml};

/// What the processes of one cluster share.
#[derive(Default, Debug)]
pub(crate) struct Shared {
    /// What savers and centers stand on; none where there are none of these.
    pub(crate) stores: Option<Stores>,
    /// host:port; none for the keeper itself.
    pub(crate) keeper: Option<String>,
}

/// What savers and centers stand on.
#[derive(Debug)]
pub(crate) struct Stores {
    /// URL of the database.
    pub(crate) mysql: String,
    /// URL of Redis.
    pub(crate) redis: String,
    /// File with the admin key.
    pub(crate) admin_key: String,
}

/// The configuration of a process: ports chosen by the kernel, its files in `folder`. An error if there is nothing for it to stand on.
pub(crate) fn settings(role: Role, name: &str, folder: &Path, shared: &Shared) -> anyhow::Result<Table> {
    let mut table = toml! {
        [node]
        rpc = "127.0.0.1:0"
        admin = "127.0.0.1:0"
        shutdown_s = 5
    };
    lay_over(&mut table, node(name, shared));
    let path = folder.to_string_lossy().into_owned();
    lay_over(&mut table, own(role, path, shared.stores.as_ref())?);
    Ok(table)
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
fn own(role: Role, folder: String, stores: Option<&Stores>) -> anyhow::Result<Table> {
    let stores = || stores.with_context(|| format!("a {role} needs Redis, MariaDB and an admin key"));
    let text = match role {
        Role::Keeper => format!("data = '{folder}/data'\n"),
        Role::Saver => {
            let Stores { mysql, redis, .. } = stores()?;
            format!("[store]\nkind = 'cluster'\nmysql = ['{mysql}']\nredis = '{redis}'\n")
        }
        Role::Room => "listen = '127.0.0.1:0'\n".to_owned(),
        Role::Center => format!("admin_key_file = '{}'\n", stores()?.admin_key),
        Role::Register | Role::Coordinator | Role::Dispatcher => String::new(),
    };
    Ok(toml::from_str(&text)?)
}
