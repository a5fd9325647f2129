"""Go's text/template language, as far as prompts can use it."""
