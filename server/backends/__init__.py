"""What can run a model: the llama.cpp worker, and a scripted one for demonstrations and tests."""
