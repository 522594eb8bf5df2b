from django.urls import include, path

from accounts import views

urlpatterns = [
    path("", include("accounts.approvals.urls")),
    path("", include("accounts.authority.urls")),
    path("", include("accounts.erasure.urls")),
    path("account/tokens/", views.token_list, name="token-list"),
    path("account/tokens/<uuid:pk>/revoke/", views.token_revoke, name="token-revoke"),
    path("account/sessions/<int:pk>/end/", views.session_end, name="session-end"),
]
