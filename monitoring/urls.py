from django.urls import path

from monitoring import chart_views, model_views, rows_views, senders_views, views
from monitoring.comparing import urls as comparing_urls
from monitoring.inbound import views as inbound_views
from monitoring.quality import views as quality_views
from monitoring.rules import urls as rules_urls

urlpatterns = [
    path("monitoring/endpoints/<slug:slug>/charts/", chart_views.endpoint_charts, name="monitoring-charts"),
    path("monitoring/endpoints/<slug:slug>/figures/<str:name>.json", chart_views.figure, name="monitoring-figure"),
    path("monitoring/endpoints/<slug:slug>/figures/<str:name>.csv", chart_views.numbers, name="monitoring-numbers"),
    path("monitoring/models/<slug:slug>/charts/", model_views.model_charts, name="model-charts"),
    path("monitoring/models/<slug:slug>/figures/<str:name>.json", model_views.figure, name="model-figure"),
    path("monitoring/models/<slug:slug>/figures/<str:name>.csv", model_views.numbers, name="model-numbers"),
    path("monitoring/endpoints/<slug:slug>/quality/", quality_views.quality, name="monitoring-quality"),
    path("monitoring/endpoints/<slug:slug>/windows/", views.window_list, name="window-list"),
    path("monitoring/windows/<int:pk>/", views.window_detail, name="window-detail"),
    path("monitoring/endpoints/<slug:slug>/predictions/", rows_views.prediction_rows, name="prediction-rows"),
    path("monitoring/senders/", senders_views.sender_list, name="sender-list"),
    path("monitoring/senders/<slug:name>/rotate/", senders_views.sender_rotate, name="sender-rotate"),
    path("monitoring/senders/<slug:name>/end/", senders_views.sender_end, name="sender-end"),
    path("monitoring/deliveries/", views.delivery_list, name="delivery-list"),
    path("monitoring/deliveries/<uuid:pk>/read-again/", inbound_views.read_again, name="delivery-read-again"),
    path("monitoring/arrivals/", inbound_views.ledger, name="ledger"),
    *comparing_urls.urlpatterns,
    *rules_urls.urlpatterns,
]
