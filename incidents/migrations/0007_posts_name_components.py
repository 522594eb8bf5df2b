"""What was told before posts named their components was told of those behind which the incident's endpoint stood."""

from django.db import migrations


def name_them(apps, schema_editor):
    using = schema_editor.connection.alias
    posts = apps.get_model("incidents", "StatusPost").objects.using(using)
    components = apps.get_model("incidents", "StatusComponent").objects.using(using)
    for post in posts.filter(affected=[], incident__endpoint__isnull=False).select_related("incident"):
        named = components.filter(page=post.page_id, endpoint=post.incident.endpoint_id)
        affected = [
            {"id": one.pk, "name": one.name, "old": one.state, "new": post.component_state, "quality": ""}
            for one in named
        ]
        posts.filter(pk=post.pk).update(affected=affected)


class Migration(migrations.Migration):
    dependencies = [("incidents", "0006_status_posts")]

    operations = [migrations.RunPython(name_them, migrations.RunPython.noop)]
