//! The samples in deploy/config are taken by the program, and show every key with its default.
#![allow(clippy::unwrap_used)] // all of this is a test

use std::path::{Path, PathBuf};
use std::process::Command;

use toml::{Table, Value};

const ROLES: [&str; 8] =
    ["keeper", "saver", "register", "coordinator", "room", "center", "dispatcher", "standalone"];

#[test]
fn every_sample_is_taken() {
    for role in ROLES {
        effective(role, Some(&sample(role)));
    }
    let samples = std::fs::read_dir(sample("keeper").parent().unwrap()).unwrap();
    assert_eq!(samples.count(), ROLES.len(), "a sample per role, and no other file");
}

/// `#key = value` is a default to be changed, `# text` is prose. What takes effect with the sample as it is must all be shown in
/// it, one way or the other; a default with its value.
#[test]
fn every_key_is_in_its_sample_with_its_default() {
    let folder = tempfile::tempdir().unwrap();
    for role in ROLES {
        let text = std::fs::read_to_string(sample(role)).unwrap();
        let shown = text.lines().map(|line| uncommented(line).to_owned() + "\n").collect::<String>();
        let file = folder.path().join("shown.toml");
        std::fs::write(&file, &shown).unwrap();
        effective(role, Some(&file));
        let mut in_effect = effective(role, Some(&sample(role)));
        if role == "standalone" {
            // The sections of the services are shown in the services' own samples.
            in_effect.retain(|key, _| !ROLES.contains(&key));
        }
        compare(role, "", &in_effect, &toml::from_str(&shown).unwrap());
    }
}

fn compare(role: &str, section: &str, in_effect: &Table, shown: &Table) {
    for (key, value) in in_effect {
        let name = format!("{section}{key}");
        match (value, shown.get(key)) {
            (_, None) => panic!("{role}.toml does not show `{name}` ({value})"),
            (Value::Table(value), Some(Value::Table(shown))) => {
                compare(role, &format!("{name}."), value, shown)
            }
            (value, Some(shown)) => {
                assert_eq!(shown, value, "{role}.toml shows another default for `{name}`")
            }
        }
    }
}

/// The line with what it comments out in effect.
fn uncommented(line: &str) -> &str {
    match line.strip_prefix('#') {
        Some(code) if code.starts_with(|c: char| c == '[' || c.is_ascii_alphabetic()) => code,
        _ => line,
    }
}

/// The configuration as the program takes it.
fn effective(role: &str, file: Option<&Path>) -> Table {
    let mut command = Command::new(env!("CARGO_BIN_EXE_longline"));
    command.args([role, "--print-config"]).args(file.iter().flat_map(|f| [Path::new("--config"), f]));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("LONGLINE_")) {
        command.env_remove(name);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{role}: {}", String::from_utf8_lossy(&output.stderr));
    toml::from_str(&String::from_utf8(output.stdout).unwrap()).unwrap()
}

fn sample(role: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../deploy/config/{role}.toml"))
}
