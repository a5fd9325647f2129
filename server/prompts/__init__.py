"""Messages to prompt text and generated text back to messages. Pure: no process, no disk."""
