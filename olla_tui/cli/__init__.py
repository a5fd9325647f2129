"""The `olla` command."""
