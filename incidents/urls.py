from django.urls import path

from incidents.views import duties, pages, reviews, status, verbs

urlpatterns = [
    path("", pages.home, name="home"),
    path("incidents/", pages.incident_list, name="incident-list"),
    path("incidents/<slug:ref>/", pages.incident_detail, name="incident-detail"),
    path("incidents/<slug:ref>/live/", pages.incident_live, name="incident-live"),
    path("incidents/<slug:ref>/duties/", duties.incident_duties, name="incident-duties"),
    path("incidents/<slug:ref>/duties/<slug:clock>/", duties.mark, name="incident-duty-mark"),
    path("audit/clocks/", duties.clocks, name="audit-clocks"),
    path("audit/clocks.csv", duties.clocks_csv, name="audit-clocks-csv"),
    path("incidents/<slug:ref>/<slug:verb>/", verbs.incident_act, name="incident-act"),
    path("status/", status.index, name="status-index"),
    path("status/<slug:slug>/", status.page, name="status-page"),
    path("status/<slug:slug>/post/", status.post, name="status-post"),
    path("status/<slug:slug>/api/v2/<path:name>.json", status.api, name="status-api"),
    path("status/<slug:slug>/feed.atom", status.feed, name="status-feed"),
    path("status/<slug:slug>/status.css", status.stylesheet, name="status-stylesheet"),
    path("reviews/<slug:ref>/", reviews.detail, name="review-detail"),
    path("reviews/<slug:ref>/edit/", reviews.edit, name="review-edit"),
    path("reviews/<slug:ref>/action-items/", reviews.add_item, name="review-add-item"),
    path("reviews/<slug:ref>/action-items/<int:pk>/done/", reviews.finish_item, name="review-finish-item"),
    path("reviews/<slug:ref>/publish/", reviews.publish, name="review-publish"),
    path("reviews/<slug:ref>/export.<str:kind>", reviews.export, name="review-export"),
]
