from django.urls import path

from .views import start

urlpatterns = [path("jobs/start/", start)]
