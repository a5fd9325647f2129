"""Files that go along with a prompt: found, read within bounds, and taken from the clipboard."""
