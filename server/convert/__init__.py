"""Models in Hugging Face's layout (safetensors, config.json, tokenizer) as GGUF; a process of its own."""
