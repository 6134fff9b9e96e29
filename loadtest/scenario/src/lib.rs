//! The scenario file of the load tester: types, parsing, checks.
