"""Chats kept in SQLite."""
