from django.urls import path

from incidents.oncall import answers, views

urlpatterns = [
    path("on-call/", views.home, name="oncall-home"),
    path("on-call/rotations/new/", views.new_rotation, name="oncall-new-rotation"),
    path("on-call/rotations/<int:pk>/", views.rotation, name="oncall-rotation"),
    path("on-call/rotations/<int:pk>/layers/", views.add_layer, name="oncall-add-layer"),
    path("on-call/rotations/<int:pk>/layers/<int:number>/remove/", views.remove_layer, name="oncall-remove-layer"),
    path("on-call/rotations/<int:pk>/overrides/", views.add_override, name="oncall-add-override"),
    path("on-call/rotations/<int:pk>/retire/", views.retire_rotation, name="oncall-retire-rotation"),
    path("on-call/overrides/<int:pk>/remove/", views.remove_override, name="oncall-remove-override"),
    path("on-call/policies/new/", views.new_policy, name="oncall-new-policy"),
    path("on-call/policies/<int:pk>/", views.policy, name="oncall-policy"),
    path("on-call/policies/<int:pk>/retire/", views.retire_policy, name="oncall-retire-policy"),
    path("on-call/channels/", answers.channels, name="oncall-channels"),
    path("on-call/mine/", answers.mine, name="oncall-mine"),
    path("on-call/ways/<int:pk>/test/", answers.test_way, name="oncall-test-way"),
    path("on-call/ways/<int:pk>/remove/", answers.remove_way, name="oncall-remove-way"),
    path("on-call/confirm/<str:token>/", answers.confirm, name="oncall-confirm"),
    path("on-call/answer/<str:token>/", answers.answer, name="oncall-answer"),
    path("on-call/escalations/<int:pk>/<slug:verb>/", answers.act, name="oncall-act"),
]
