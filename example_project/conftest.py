"""What all tests may use: a server and browsers, for the live ones."""

pytest_plugins = ["config.tests.live"]
