"""Textual screens and dialogs."""
