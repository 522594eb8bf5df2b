from django.urls import path

from accounts import views

urlpatterns = [
    path("approvals/", views.approval_list, name="approval-list"),
    path("approvals/<uuid:pk>/", views.approval_detail, name="approval-detail"),
    path("account/tokens/", views.token_list, name="token-list"),
    path("account/tokens/<uuid:pk>/revoke/", views.token_revoke, name="token-revoke"),
]
