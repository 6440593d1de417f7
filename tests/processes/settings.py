"""As little Django as groups need; what starts the process says which backend and database."""

import json
import os

SECRET_KEY = "not a secret: this project only ever runs inside the test suite"
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "tests.processes.urls"
MIDDLEWARE: list[str] = []
DATABASES = {"default": json.loads(os.environ["PROCESSES_DATABASE"])}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"database": {"class": "tests.processes.consumers.Querying", "level": "ERROR"}},
    "loggers": {"wsconsumer.consumer": {"handlers": ["database"]}},
}
WSCONSUMER = {
    "GROUPS": json.loads(os.environ["PROCESSES_GROUPS"]),
    "CLIENT_ADDRESS": "tests.processes.consumers.named",
}
if DATABASES["default"]["ENGINE"].endswith("postgresql"):
    INSTALLED_APPS = ["wsconsumer.groups.postgres"]
USE_TZ = True
