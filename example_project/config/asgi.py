"""The ASGI application: `daphne config.asgi:application`."""

import os

from django.conf import settings
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler

from wsconsumer.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

application = get_asgi_application()

if settings.DEBUG:  # daphne alone then serves CSS and JavaScript too, as `runserver` does
    application = ASGIStaticFilesHandler(application)  # type: ignore[arg-type]  # takes any ASGI application
