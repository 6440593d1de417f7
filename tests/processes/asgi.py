"""The application that every server serves."""

from wsconsumer.asgi import get_asgi_application

application = get_asgi_application()
