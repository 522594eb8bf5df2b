from django.urls import path

from tests.pages.gallery import views

handler404 = "django.views.defaults.page_not_found"

urlpatterns = [
    path("gallery/", views.gallery, name="gallery"),
    path("incident/", views.incident, name="incident-layout"),
    path("public/", views.public, name="public-layout"),
    path("live/", views.live_page, name="live-page"),
    path("live/part/", views.live_part, name="live-part"),
    path("forbidden/", views.forbidden),
    path("broken/", views.broken),
    path("accounts/login/", views.sign_in, name="account_login"),
    path("accounts/2fa/webauthn/login/", views.sign_in, name="mfa_login_webauthn"),
]
