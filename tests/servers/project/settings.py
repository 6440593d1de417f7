"""As little Django as a consumer needs: no database, no middleware, no apps."""

SECRET_KEY = "not a secret: this project only ever runs inside the test suite"
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "project.urls"
MIDDLEWARE: list[str] = []
DATABASES: dict[str, dict[str, str]] = {}
USE_TZ = True
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"journal": {"class": "project.journal.JournalHandler"}},
    "loggers": {
        name: {"handlers": ["journal"], "level": "INFO"} for name in ("wsconsumer", "asyncio")
    },
}
