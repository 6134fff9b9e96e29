//! What `loadtest/README.md` says of scenarios is so.

use std::path::{Path, PathBuf};

use longline_load_scenario::key_table;

fn loadtest() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn readme() -> String {
    std::fs::read_to_string(loadtest().join("README.md")).expect("it is there")
}

#[test]
fn the_table_of_keys_is_the_models() {
    let (expected, readme) = (key_table(), readme());
    let begins = readme.find("| key | value |").expect("a table of keys");
    let table: String = readme[begins..].lines().take_while(|line| line.starts_with('|')).fold(
        String::new(),
        |mut table, line| {
            table.push_str(line);
            table.push('\n');
            table
        },
    );
    assert_eq!(table, expected, "it should read:\n{expected}");
}

#[test]
fn every_scenario_is_in_its_table() {
    let readme = readme();
    for entry in std::fs::read_dir(loadtest().join("scenarios")).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        let name = file.trim_end_matches(".toml");
        assert!(readme.contains(&format!("| [`{name}`](scenarios/{file}) |")), "{name} is missing");
    }
}

#[test]
fn its_links_lead_somewhere() {
    let readme = readme();
    let links = readme.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    for link in links {
        let leads = match link.strip_prefix('#') {
            Some(anchor) => {
                let mut titles = readme.lines().filter_map(|line| line.strip_prefix("## "));
                titles.any(|title| title.to_lowercase().replace(' ', "-") == anchor)
            }
            None => loadtest().join(link).exists(),
        };
        assert!(leads, "{link}");
    }
}
