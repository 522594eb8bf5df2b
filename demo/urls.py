from django.urls import path

from demo import views

urlpatterns = [
    path("", views.tries, name="demo-tries"),
    path("entries/", views.entries, name="demo-entries"),
    path("<slug:name>/", views.ask, name="demo-ask"),
]
