//! The file with the room's key for Noise.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use longline_noise::StaticKey;

/// Reads the key in a file. If the file is not there it is made, readable by its owner alone, with a new key.
///
/// # Errors
/// If the file cannot be read or made, or holds no key.
pub fn open_noise_key(path: &Path) -> anyhow::Result<Arc<StaticKey>> {
    let content = match std::fs::read(path) {
        Ok(content) => content,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            make(path).with_context(|| format!("cannot make the key {}", path.display()))?
        }
        Err(error) => return Err(error).with_context(|| format!("cannot read the key {}", path.display())),
    };
    let key = StaticKey::from_file(&content)
        .with_context(|| format!("{} holds no key of `openssl rand -base64 32`", path.display()))?;
    Ok(Arc::new(key))
}

/// The file appears whole or not at all, also if the power fails.
fn make(path: &Path) -> anyhow::Result<Vec<u8>> {
    let content = StaticKey::generate()?.to_file()?;
    let mut aside = path.as_os_str().to_owned();
    aside.push(".new");
    let aside = Path::new(&aside);
    let _ = std::fs::remove_file(aside); // of a start that did not get further; its mode is not known
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(aside)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(aside, path)?;
    Ok(content.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("noise.key");
        let key = open_noise_key(&path).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(open_noise_key(&path).unwrap().public(), key.public());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_no_key_is_told_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("noise.key");
        std::fs::write(&path, "secret").unwrap();
        let error = format!("{:#}", open_noise_key(&path).unwrap_err());
        assert!(error.contains("noise.key holds no key"), "{error}");
        let error = format!("{:#}", open_noise_key(&folder.path().join("no/key")).unwrap_err());
        assert!(error.contains("cannot make the key"), "{error}");
    }
}
