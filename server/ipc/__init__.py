"""Messages and framing between the server and its engine worker processes."""
