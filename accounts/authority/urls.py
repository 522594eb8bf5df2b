from django.urls import path

from accounts.authority import views
from accounts.rosters import views as rosters

urlpatterns = [
    path("people/", views.person_list, name="person-list"),
    path("people/new/", views.person_new, name="person-new"),
    path("people/proposals/<uuid:pk>/confirm/", views.proposal_confirm, name="proposal-confirm"),
    path("people/proposals/<uuid:pk>/refuse/", views.proposal_refuse, name="proposal-refuse"),
    path("people/grants/<uuid:pk>/end/", views.grant_end, name="grant-end"),
    path("people/of/<str:username>/", views.person_detail, name="person-detail"),
    path("people/of/<str:username>/deactivate/", views.person_deactivate, name="person-deactivate"),
    path("people/of/<str:username>/reactivate/", views.person_reactivate, name="person-reactivate"),
    path("people/of/<str:username>/sign-out/", views.person_sign_out, name="person-sign-out"),
    path("people/rosters/", rosters.roster_list, name="roster-list"),
    path("people/rosters/<int:pk>/remove/", rosters.roster_remove, name="roster-remove"),
    path("account/loans/", views.loan_list, name="loan-list"),
    path("account/loans/<uuid:pk>/end/", views.loan_end, name="loan-end"),
]
