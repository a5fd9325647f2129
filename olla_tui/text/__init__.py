"""Markdown to lines of a terminal: pure, incremental, and free of the application."""
