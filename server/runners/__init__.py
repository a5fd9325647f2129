"""Loaded models: leases, keep-alive, eviction."""
