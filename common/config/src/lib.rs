//! TOML configuration with environment overrides; unknown keys are refused with the nearest known name.
