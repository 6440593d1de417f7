"""What the page is asked to show: the fields of its filter."""

from __future__ import annotations

from django import forms
from django.utils.http import urlencode

from ..connected.facts import SHOWN
from ..connected.questions import Selection, user_named

_STARS = "* stands for any characters."


class Filter(forms.Form):
    """The filter, in the query of the page's URL."""

    user = forms.CharField(required=False, max_length=400, help_text="The primary key.")
    # No key of a session, which would be in the log of every proxy.
    session = forms.RegexField(
        rf"^[0-9a-f]{{{SHOWN}}}\Z", required=False, help_text="The hash, as it is shown."
    )
    group = forms.CharField(required=False, max_length=400, help_text=_STARS)
    path = forms.CharField(required=False, max_length=400, help_text=_STARS)
    consumer = forms.CharField(required=False, max_length=400, help_text=_STARS)

    def clean_user(self) -> str:
        """Return the primary key as it is shown."""
        user: str = self.cleaned_data["user"]
        return user and user_named(user)

    @property
    def selection(self) -> Selection:
        """Which connections are meant."""
        return Selection(**self.given)

    @property
    def given(self) -> dict[str, str]:
        """The fields that are filled in; none if one of them makes no sense."""
        if not self.is_valid():
            return {}
        return {name: value for name, value in self.cleaned_data.items() if value}

    @property
    def query(self) -> str:
        """The query that means the same, with its question mark, or nothing."""
        return f"?{urlencode(self.given)}" if self.given else ""
