from django.contrib.auth.decorators import login_required
from django.urls import path
from django.views.generic import TemplateView

room = TemplateView.as_view(template_name="chat/room.html")

urlpatterns = [path("chat/<slug:room>/", login_required(room))]
