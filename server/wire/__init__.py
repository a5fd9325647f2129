"""JSON shapes of the APIs and their translation to and from `server.types`. No ASGI here."""
