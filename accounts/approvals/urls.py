from django.urls import path

from accounts.approvals import views

urlpatterns = [
    path("approvals/", views.approval_list, name="approval-list"),
    path("approvals/<uuid:pk>/", views.approval_detail, name="approval-detail"),
    path("approvals/<uuid:pk>/evidence/<slug:digest>/", views.approval_evidence, name="approval-evidence"),
]
