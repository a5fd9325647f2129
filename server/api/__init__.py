"""The ASGI application: routes, errors to status codes, streaming. Asks services, nothing deeper."""
