from django.urls import path

from incidents.diagnosing import views

urlpatterns = [path("models/<slug:slug>/cost/", views.cost, name="model-cost")]
