"""The small Django project that the server suite runs under every ASGI server."""
