//! What a cluster consists of.

use std::collections::BTreeMap;
use std::path::PathBuf;

use longline_types::Role;

/// What a cluster consists of.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program to run, see [`crate::binary`].
    pub binary: PathBuf,
    /// How many processes there are of each role; the keeper is always one.
    pub count: BTreeMap<&'static str, usize>,
    /// Further configuration by role name, laid over what the cluster itself needs: `{"room": {"engine": {"check_s": 2}}}`.
    pub settings: BTreeMap<&'static str, toml::Table>,
    /// Further environment of every process of the program.
    pub environment: Vec<(String, String)>,
    /// The cores that every process may run on, Redis and MariaDB among them, from its first thread on; numbered as the kernel
    /// does. None or empty: those of this process.
    pub cores: Option<Vec<usize>>,
    /// Memory of MariaDB for pages, in MiB; its redo log is a quarter of that. Small by default, for tests.
    pub database_mib: u32,
}

impl Options {
    /// 1 keeper, 2 registers, 2 savers, 1 coordinator, 2 centers, 1 dispatcher, 2 rooms.
    pub fn new(binary: PathBuf) -> Options {
        let twice = [Role::Register, Role::Saver, Role::Center, Role::Room];
        let count = Role::ALL.map(|role| (role.name(), if twice.contains(&role) { 2 } else { 1 }));
        let (settings, environment) = (BTreeMap::new(), Vec::new());
        Options { binary, count: count.into(), settings, environment, cores: None, database_mib: 64 }
    }

    /// With this many processes of a role.
    pub fn count(mut self, role: Role, count: usize) -> Options {
        self.count.insert(role.name(), count);
        self
    }

    /// With this TOML laid over the configuration of a role. An error if it is no TOML.
    pub fn set(mut self, role: Role, toml: &str) -> anyhow::Result<Options> {
        let over = toml::from_str(toml)?;
        crate::settings::lay_over(self.settings.entry(role.name()).or_default(), over);
        Ok(self)
    }
}
