"""The olla server: inference, model store and HTTP APIs. Knows nothing of the terminal."""
