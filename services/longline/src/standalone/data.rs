//! The data folder: locked by one process, keys in files that only their owner can read.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// A data folder that this process has to itself.
pub(crate) struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes the folder if it is not there, and locks it. An error if another process has it.
    pub(crate) fn open(path: &Path) -> anyhow::Result<DataDir> {
        std::fs::create_dir_all(path)
            .with_context(|| format!("cannot make the data folder {}", path.display()))?;
        let file = path.join("lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&file);
        let lock = lock.with_context(|| format!("cannot write in the data folder: {}", file.display()))?;
        match lock.try_lock() {
            Ok(()) => Ok(DataDir { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => bail!(
                "the data folder {} is in use by another longline process; stop that one, or choose another folder with --data",
                path.display()
            ),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("cannot lock {}", file.display()))
            }
        }
    }

    /// Something inside it.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Where the admin key is.
    pub(crate) fn admin_key_file(&self) -> PathBuf {
        self.join("admin.key")
    }

    /// The admin key: made at the first start, the same ever after.
    pub(crate) fn admin_key(&self) -> anyhow::Result<String> {
        if let Some(key) = self.secret("admin.key")? {
            return Ok(key);
        }
        let key = format!("lla_{}", URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()));
        self.write_secret("admin.key", &key)?;
        Ok(key)
    }

    /// A secret that was written before.
    pub(crate) fn secret(&self, name: &str) -> anyhow::Result<Option<String>> {
        let path = self.join(name);
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text.trim().to_owned()).filter(|key| !key.is_empty())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Keeps a secret: whole or not at all, also if the power fails, and readable by the owner alone.
    pub(crate) fn write_secret(&self, name: &str, secret: &str) -> anyhow::Result<()> {
        let (path, aside) = (self.join(name), self.join(&format!("{name}.new")));
        let write = || {
            let _ = std::fs::remove_file(&aside); // of a start that did not get further; its mode is not known
            let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&aside)?;
            writeln!(file, "{secret}")?;
            file.sync_all()?;
            std::fs::rename(&aside, &path)?;
            File::open(&self.path)?.sync_all()
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn one_process_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        let first = DataDir::open(&path).unwrap();
        let refused = DataDir::open(&path).err().unwrap().to_string();
        assert!(refused.contains("is in use by another longline process"), "{refused}");
        drop(first);
        DataDir::open(&path).unwrap();
    }

    #[test]
    fn keys_stay_the_same_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::open(folder.path()).unwrap();
        let key = data.admin_key().unwrap();
        assert!(key.len() >= 16);
        assert_eq!(data.admin_key().unwrap(), key);
        assert_eq!(data.admin_key_file().metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(data.secret("demo.key").unwrap(), None);
        std::fs::write(data.join("demo.key"), "\n").unwrap();
        assert_eq!(data.secret("demo.key").unwrap(), None, "an empty file is no key");
        data.write_secret("demo.key", "a").unwrap();
        data.write_secret("demo.key", "b").unwrap();
        assert_eq!(data.secret("demo.key").unwrap().as_deref(), Some("b"));
    }
}
