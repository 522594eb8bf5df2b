from django.urls import path

from accounts.erasure import views

urlpatterns = [path("people/of/<str:username>/erase/", views.person_erase, name="person-erase")]
