from django.urls import path

from incidents.telling import views

urlpatterns = [
    path("status/<slug:slug>/manage/", views.manage, name="status-manage"),
    path("status/<slug:slug>/components/", views.add_component, name="status-add-component"),
    path("status/<slug:slug>/components/<int:pk>/retire/", views.retire_component, name="status-retire-component"),
    path("status/<slug:slug>/words/", views.set_words, name="status-words"),
    path("status/<slug:slug>/webhooks/", views.add_webhook, name="status-add-webhook"),
    path("status/<slug:slug>/subscribers/<slug:ref>/end/", views.end_subscriber, name="status-end-subscriber"),
    path("status/<slug:slug>/messages/<uuid:message>/replay/", views.replay, name="status-replay"),
    path("status/<slug:slug>/maintenance/", views.maintenances, name="status-maintenance"),
    path("status/<slug:slug>/maintenance/<int:pk>/cancel/", views.cancel_maintenance, name="status-cancel-maintenance"),
    path("status/<slug:slug>/drafts/<int:pk>/dismiss/", views.dismiss_draft, name="status-dismiss-draft"),
    path("status/<slug:slug>/subscribe/", views.subscribe, name="status-subscribe"),
    path("status/<slug:slug>/confirm/<str:token>/", views.confirm, name="status-confirm"),
    path("status/<slug:slug>/unsubscribe/<str:token>/", views.unsubscribe, name="status-unsubscribe"),
]
