from django.urls import path

from accounts.approvals import glass_views, policy_views, views

urlpatterns = [
    path("approvals/", views.approval_list, name="approval-list"),
    path("approvals/policies/", policy_views.policy_list, name="policy-list"),
    path("approvals/policies/<int:pk>/retire/", policy_views.policy_retire, name="policy-retire"),
    path("approvals/<uuid:pk>/", views.approval_detail, name="approval-detail"),
    path("approvals/<uuid:pk>/evidence/<slug:digest>/", views.approval_evidence, name="approval-evidence"),
    path("approvals/<uuid:pk>/break-glass/", glass_views.break_glass_page, name="approval-break-glass"),
    path("approvals/<uuid:pk>/break-glass/review/", glass_views.break_glass_review, name="approval-glass-review"),
]
