from django.urls import path

from monitoring.importance import views

VERSION = "models/<slug:slug>/<int:number>/importance/"
urlpatterns = [
    path(VERSION, views.importance, name="version-importance"),
    path(f"{VERSION}numbers/", views.numbers, name="version-importance-numbers"),
]
