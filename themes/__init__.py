"""Theme files, one `NAME.toml` each. Data only."""
