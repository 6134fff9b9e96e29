//! Folders that tests may fill.

use std::path::{Path, PathBuf};

use anyhow::Context;

/// A temporary folder of its own, removed when dropped, unless `LONGLINE_KEEP_SCRATCH` is set in the environment.
#[derive(Debug)]
pub struct Scratch {
    folder: tempfile::TempDir,
}

impl Scratch {
    /// A new, empty folder.
    pub fn new() -> anyhow::Result<Scratch> {
        let mut folder = tempfile::Builder::new()
            .prefix("longline-")
            .tempdir()
            .context("cannot make a temporary folder")?;
        folder.disable_cleanup(std::env::var_os("LONGLINE_KEEP_SCRATCH").is_some());
        Ok(Scratch { folder })
    }

    /// Leaves it where it is when dropped.
    pub fn keep(&mut self) {
        self.folder.disable_cleanup(true);
    }

    /// A folder for what all tests of this process share. Statics are never dropped, so such folders are removed by the next
    /// process that makes one, once theirs has ended.
    pub(crate) fn shared() -> anyhow::Result<Scratch> {
        sweep(&std::env::temp_dir());
        let prefix = format!("{SHARED}{}-", std::process::id());
        let folder =
            tempfile::Builder::new().prefix(&prefix).tempdir().context("cannot make a temporary folder")?;
        Ok(Scratch { folder })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A new folder inside it, whose name begins with `name`.
    pub fn folder(&self, name: &str) -> anyhow::Result<PathBuf> {
        let folder = tempfile::Builder::new().prefix(&format!("{name}-")).tempdir_in(self.path())?;
        Ok(folder.keep())
    }
}

const SHARED: &str = "longline-shared-";

/// Removes the shared folders of processes that have ended.
fn sweep(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner =
            name.to_str().and_then(|n| n.strip_prefix(SHARED)?.split('-').next()?.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            // Another process may be removing it at the same time.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// A folder that later runs find again: in cargo's target folder if this program runs from there, else beside other
/// temporary files.
pub(crate) fn cache() -> anyhow::Result<PathBuf> {
    let exe = std::env::current_exe().context("cannot tell where this program is")?;
    let target = exe.ancestors().find(|a| a.join("CACHEDIR.TAG").exists());
    let cache = target.map_or_else(std::env::temp_dir, |t| t.join("tmp")).join("longline-testkit");
    std::fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
    Ok(cache)
}

/// Copies a folder with everything in it.
pub(crate) fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_folders_of_ended_processes_go() {
        let scratch = Scratch::new().unwrap();
        let (dead, own) = (format!("{SHARED}4194305-x"), format!("{SHARED}{}-x", std::process::id()));
        for name in [&dead, &own] {
            std::fs::create_dir(scratch.path().join(name)).unwrap();
        }
        sweep(scratch.path());
        assert!(!scratch.path().join(dead).exists());
        assert!(scratch.path().join(own).exists());
    }

    #[test]
    fn a_scratch_goes_away_with_its_handle() {
        let scratch = Scratch::new().unwrap();
        let inside = scratch.folder("part").unwrap();
        std::fs::write(inside.join("file"), "x").unwrap();
        let copied = scratch.path().join("copy");
        copy(&inside, &copied).unwrap();
        assert_eq!(std::fs::read_to_string(copied.join("file")).unwrap(), "x");
        drop(scratch);
        assert!(!inside.exists());
    }
}
