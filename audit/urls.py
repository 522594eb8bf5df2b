"""Addresses of the auditors' pages."""

from django.urls import path

from audit import views

urlpatterns = [
    path("audit/", views.log, name="audit-log"),
    path("audit/events/<uuid:event_uuid>/", views.event, name="audit-event"),
    path("audit/events/<uuid:event_uuid>/record.json", views.event_record, name="audit-event-record"),
    path("audit/events/<uuid:event_uuid>/reveal/", views.reveal_text, name="audit-reveal"),
    path("audit/holds/", views.holds, name="audit-holds"),
    path("audit/holds/<uuid:pk>/lift/", views.lift_hold, name="audit-hold-lift"),
    path("audit/checkpoint/", views.checkpoint, name="audit-checkpoint"),
    path("audit/checkpoints/<int:size>/", views.checkpoint, name="audit-checkpoint-at"),
    path("audit/changes/", views.changes, name="audit-changes"),
    path("audit/break-glass/", views.break_glass, name="audit-break-glass"),
    path("audit/approvers/", views.approvers, name="audit-approvers"),
    path("audit/versions/", views.versions, name="audit-versions"),
    path("audit/duties/", views.duties, name="audit-duties"),
    path("audit/export/", views.export, name="audit-export"),
    path("audit/export/<slug:view>.csv", views.export_table, name="audit-export-table"),
]
