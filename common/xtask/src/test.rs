//! `cargo xtask test`.

use std::process::Command;

use anyhow::{Context as _, bail};
use longline_testkit::require;

use crate::command::{self, cargo};

/// Programs that tests start, and the Debian package of each.
const NEEDED: [(&str, &str); 4] = [
    ("redis-server", "redis-server"),
    ("mariadbd", "mariadb-server"),
    ("mariadb", "mariadb-client"),
    ("python3", "python3"),
];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// For cargo test: `-p longline-rpc`, a name, `-- --nocapture`. Without `-p` the whole workspace is tested.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    cargo: Vec<String>,
}

/// Everything: unit, property, integration, end-to-end and documentation tests.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    install_servers()?;
    let is_package = |a: &String| a == "-p" || a.starts_with("-p=") || a.starts_with("--package");
    let mut words = vec!["test".to_owned()];
    if !args.cargo.iter().take_while(|a| *a != "--").any(is_package) {
        words.push("--workspace".to_owned());
    }
    let split = args.cargo.iter().position(|a| a == "--").unwrap_or(args.cargo.len());
    let (for_cargo, for_tests) = args.cargo.split_at(split);
    words.extend(for_cargo.iter().cloned());

    // All is built before anything runs, and the tests that start real processes are told which program was built with them.
    let build: Vec<String> = words.iter().cloned().chain(["--no-run".to_owned()]).collect();
    let mut test = cargo();
    if let Some(program) = longline_procs::built_by(&build, "longline")? {
        test.env("LONGLINE_BIN", program);
    }
    command::run(test.args(words).args(for_tests))
}

/// Installs what is missing if we may, else says how.
fn install_servers() -> anyhow::Result<()> {
    let missing = || {
        NEEDED
            .iter()
            .filter(|(program, package)| require(program, package).is_err())
            .map(|(_, package)| *package)
    };
    let packages: Vec<&str> = missing().collect();
    if packages.is_empty() {
        return Ok(());
    }
    let list = packages.join(" ");
    if !rustix::process::geteuid().is_root() || !std::path::Path::new("/usr/bin/apt-get").exists() {
        bail!(
            "the tests start servers that are not installed; run: sudo apt-get install --no-install-recommends {list}"
        );
    }
    let apt = |words: &[&str]| {
        command::run(Command::new("apt-get").env("DEBIAN_FRONTEND", "noninteractive").args(words))
    };
    apt(&["update"])?;
    apt(&[&["install", "--yes", "--no-install-recommends"], packages.as_slice()].concat())
        .with_context(|| format!("cannot install {list}"))?;
    match missing().next() {
        Some(package) => bail!("{package} was installed, but its server is not to be found"),
        None => Ok(()),
    }
}
