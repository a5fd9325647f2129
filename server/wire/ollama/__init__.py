"""JSON of Ollama's own routes, to and from domain objects, in both directions."""
