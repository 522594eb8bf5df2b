"""The product's addresses with the demo's own page, as they are while LASTGOOD_DEMO is set."""

from django.urls import include, path

from config.urls import urlpatterns as product

urlpatterns = [*product, path("demo/", include("demo.urls"))]
