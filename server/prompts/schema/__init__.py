"""JSON schemas as grammars for llama.cpp."""
