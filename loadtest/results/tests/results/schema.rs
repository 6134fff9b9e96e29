//! `run.json` as it is documented, and read back.

use std::collections::{BTreeMap, BTreeSet};

use longline_load_results::{Death, ReadError, Run};
use serde_json::Value;

use crate::made_up::{Plan, gone_wrong, run};

/// Fields whose keys are data, not names of fields.
const MAPS: [&str; 6] = ["roles", "spread", "absent", "closes", "errors", "metrics"];

/// A run in which nothing is null or empty that needs not be.
fn full() -> Run {
    let mut run = gone_wrong(run(vec![Plan::cluster().leg(), Plan::raw().leg()]));
    run.agents[0].died = Some(Death { reason: "killed".into(), ..Death::default() });
    run
}

/// The fields of each section of SCHEMA.md.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let mut sections = BTreeMap::<String, BTreeSet<String>>::new();
    let mut section = String::new();
    for line in include_str!("../../SCHEMA.md").lines() {
        if let Some(name) = line.strip_prefix("## ") {
            section = name.to_owned();
        } else if let Some((field, _)) = line.strip_prefix("| `").and_then(|rest| rest.split_once('`')) {
            let fresh = sections.entry(section.clone()).or_default().insert(field.to_owned());
            assert!(fresh, "{section}.{field} is documented twice");
        }
    }
    sections
}

/// Collects every object with its path, the maps' own left out.
fn objects<'a>(path: &str, value: &'a Value, found: &mut Vec<(String, &'a Value)>) {
    match value {
        Value::Object(fields) => {
            let field = path.rsplit('.').next().unwrap_or_default();
            if !MAPS.contains(&field) {
                found.push((path.to_owned(), value));
            }
            fields.iter().for_each(|(name, value)| objects(&format!("{path}.{name}"), value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| objects(path, value, found)),
        _ => {}
    }
}

#[test]
fn every_field_is_documented_and_every_documented_field_is_there() {
    let json: Value = serde_json::from_str(&full().to_json()).unwrap();
    let documented = documented();
    let mut met = BTreeSet::new();
    let mut found = Vec::new();
    objects("run", &json, &mut found);
    for (path, object) in found {
        let fields: BTreeSet<String> = object.as_object().unwrap().keys().cloned().collect();
        let sections: Vec<&String> = documented
            .iter()
            .filter(|(_, documented)| **documented == fields)
            .map(|(name, _)| name)
            .collect();
        assert!(!sections.is_empty(), "{path} has {fields:?}, which is no section of SCHEMA.md");
        met.extend(sections);
    }
    let unmet: Vec<&String> = documented.keys().filter(|name| !met.contains(name)).collect();
    assert!(unmet.is_empty(), "{unmet:?} of SCHEMA.md are not in a run.json");
}

#[test]
fn the_names_that_others_build_on_are_there() {
    let json: Value = serde_json::from_str(&full().to_json()).unwrap();
    let cost = ["bytes_per_session", "cpu_us_per_connect", "cpu_us_per_unicast"];
    let of_figures: Vec<String> = cost
        .iter()
        .map(|name| format!("/{name}"))
        .chain(["/unicasts_per_second", "/connects_per_second"].map(String::from))
        .chain(["p50", "p99", "p999"].map(|p| format!("/latency_us/{p}")))
        .chain(cost.iter().map(|name| format!("/roles/center/{name}")))
        .collect();
    for of in ["/figures", "/ratios"] {
        for name in &of_figures {
            let value = json.pointer(&format!("{of}{name}"));
            assert!(value.is_some_and(Value::is_number), "{of}{name}: {value:?}");
        }
        assert_eq!(json.pointer(&format!("{of}/cpu_us_per_broadcast_delivery")), Some(&Value::Null));
    }
    for name in ["lost", "duplicated", "reordered"] {
        assert!(json["verdict"][name].is_number(), "verdict.{name}");
    }
    assert_eq!(json["verdict"]["ok"], Value::Bool(false));
    assert_eq!(json["legs"][1]["side"], "raw");
    assert_eq!(json["legs"][0]["phases"][1]["name"], "warm_up");
}

/// The same but for the last digit of a fraction, which serde_json does not promise.
fn assert_same(a: &Run, b: &Run) {
    let [a, b] = [a, b].map(|run| serde_json::to_value(run).expect("a run is JSON"));
    assert!(same(&a, &b), "{a}\n{b}");
}

fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            a.keys().eq(b.keys()) && a.values().zip(b.values()).all(|(a, b)| same(a, b))
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Number(a), Value::Number(b)) if a.is_f64() => {
            a.as_f64().zip(b.as_f64()).is_some_and(|(a, b)| (a - b).abs() <= 1e-12 * a.abs())
        }
        _ => a == b,
    }
}

#[test]
fn a_run_is_read_back_as_it_was() {
    let run = full();
    assert_same(&run, &Run::parse(&run.to_json()).unwrap());
}

#[test]
fn what_is_no_run_is_refused_with_a_reason() {
    let newer = full().to_json().replacen("\"schema\": 1", "\"schema\": 2", 1);
    let error = Run::parse(&newer).unwrap_err();
    assert!(matches!(error, ReadError::Schema { found: 2 }));
    assert_eq!(error.to_string(), "its schema is 2, this version reads 1");
    for text in ["", "{}", "[]", "{\"schema\": 1}", "{\"schema\": \"1\"}"] {
        assert!(matches!(Run::parse(text), Err(ReadError::Json(_))), "{text}");
    }
    assert!(matches!(Run::read("/nonexistent/run.json".as_ref()), Err(ReadError::Io(_))));
}

#[test]
fn fields_of_later_versions_are_passed_over() {
    let more = full().to_json().replacen("\"schema\": 1,", "\"schema\": 1, \"later\": {\"a\": 1},", 1);
    assert_same(&full(), &Run::parse(&more).unwrap());
}
