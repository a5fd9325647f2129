"""JSON of the OpenAI-compatible routes, from and to domain objects."""
