"""The service protocols over HTTP and across event loops."""
