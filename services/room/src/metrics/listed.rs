//! deploy/metrics.md is the truth about the metrics of a room.

use std::collections::BTreeMap;

use prometheus::Registry;
use prometheus::core::Collector;

use super::Exporter;

const LIST: &str = include_str!("../../../../deploy/metrics.md");

/// Labels by metric, as the tables of the page say: `| name | labels | meaning |`.
fn listed() -> BTreeMap<String, Vec<String>> {
    let mut listed = BTreeMap::new();
    for line in LIST.lines().filter(|line| line.starts_with("| `longline_room_")) {
        let mut cells = line.trim_matches('|').split('|').map(str::trim);
        let (name, labels) = (cells.next().unwrap(), cells.next().unwrap());
        let labels = labels.split(',').map(|label| label.trim().trim_matches('`').to_owned());
        let labels = labels.filter(|label| !label.is_empty()).collect();
        assert!(cells.next().is_some_and(|meaning| !meaning.is_empty()), "{line}");
        let before = listed.insert(name.trim_matches('`').to_owned(), labels);
        assert!(before.is_none(), "{name} is listed twice");
    }
    listed
}

#[test]
fn every_metric_of_a_room_is_in_the_list_and_nothing_else() {
    let exporter = Exporter::new(Vec::new(), Vec::new()).unwrap();
    let links = crate::links::metric_descriptions(&Registry::new());
    let documents = crate::admission::metric_descriptions();
    let certificates = crate::transport::metric_descriptions();
    let shown = exporter.desc().into_iter().cloned().chain(links).chain(documents).chain(certificates);
    let shown: BTreeMap<String, Vec<String>> =
        shown.map(|desc| (desc.fq_name.clone(), desc.variable_labels.clone())).collect();
    let listed = listed();
    for (name, labels) in &shown {
        assert_eq!(listed.get(name), Some(labels), "deploy/metrics.md, {name}");
    }
    for name in listed.keys() {
        assert!(shown.contains_key(name), "deploy/metrics.md lists {name}, which no room has");
    }
}
