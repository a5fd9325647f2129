"""Reading GGUF headers: metadata, tensor table, capabilities. Never loads weights."""
