"""The engine worker: the only place that imports llama_cpp. Runs as `python -P -m server.engine`."""
