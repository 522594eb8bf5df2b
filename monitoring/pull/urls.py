from django.urls import path, re_path

from monitoring.pull import views

urlpatterns = [
    path("monitoring/sources/", views.source_list, name="metric-sources"),
    path("monitoring/sources/<slug:name>/", views.source_detail, name="metric-source"),
    re_path(
        r"^monitoring/sources/(?P<name>[-\w]+)/(?P<verb>end|credential|query)/$", views.source_act, name="source-act"
    ),
    path("monitoring/queries/<int:pk>/end/", views.query_end, name="metric-query-end"),
    path("monitoring/scrapes/", views.scrape_set, name="scrape-set"),
    path("monitoring/scrapes/<int:pk>/end/", views.scrape_end, name="scrape-end"),
]
