"""One path for members, and one for a view that broadcasts."""

from django.urls import path

from tests.processes import consumers, publishing

urlpatterns = [
    path("ws/", consumers.Member.as_view()),
    path("ws/everywhere/", consumers.querying(consumers.Everywhere.as_view())),
    path("ws/counted/", consumers.Counted.as_view()),
    path("publish/", publishing.publish),
]
