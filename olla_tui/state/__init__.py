"""View models without Textual: every decision of the screen that is worth testing."""
