from django.urls import path

from incidents.grouping import views

urlpatterns = [
    path("grouping-rules/", views.rule_list, name="grouping-rules"),
    path("grouping-rules/<int:pk>/", views.rule_edit, name="grouping-rule"),
    path("grouping-rules/<int:pk>/move/", views.rule_move, name="grouping-rule-move"),
    path("grouping-rules/<int:pk>/retire/", views.rule_retire, name="grouping-rule-retire"),
]
