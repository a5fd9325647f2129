"""The model store on disk, in Ollama's layout. Knows no network."""
