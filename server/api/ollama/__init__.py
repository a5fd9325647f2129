"""Ollama's own routes, below `/api`."""
