"""Registries of models: what is spoken with them, and fetching and sending blobs. Knows no store."""
