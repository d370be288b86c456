"""What can be configured: flags, TOML files, months."""
