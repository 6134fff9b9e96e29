//! What a run of the load tester found: run.json, figures, comparison, the HTML report.
