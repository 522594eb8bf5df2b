import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models


def _tables(apps, schema_editor):
    found = (('registry', 'Endpoint'), ('registry', 'FreezeWindow'), ('audit', 'AuditEvent'))
    return [apps.get_model(*name).objects.using(schema_editor.connection.alias) for name in found]


def into_rows(apps, schema_editor):
    """One row for each freeze that an endpoint held; who placed it, and when, is what the log says of the last one."""
    Endpoint, FreezeWindow, AuditEvent = _tables(apps, schema_editor)
    for endpoint in Endpoint.filter(frozen_until__isnull=False):
        placed = AuditEvent.filter(action='endpoint.freeze', target_kind='endpoint', target_id=endpoint.slug)
        event = placed.order_by('-pk').values('actor', 'occurred_at').first()
        told = {'by': event['actor'], 'placed_at': event['occurred_at']} if event else {}
        FreezeWindow.create(
            endpoint_id=endpoint.pk, starts=endpoint.frozen_from, until=endpoint.frozen_until, reason=endpoint.frozen_reason,
            **told,
        )


def into_columns(apps, schema_editor):
    """An endpoint holds one freeze again: of those in force the one that ends last, else the next that is planned."""
    Endpoint, FreezeWindow, _ = _tables(apps, schema_editor)
    now = django.db.models.functions.datetime.Now()
    standing = FreezeWindow.filter(lifted_at=None, until__gt=now)
    planned = standing.filter(starts__gt=now).order_by('-starts')
    in_force = standing.exclude(starts__gt=now).order_by('until')
    for window in [*planned, *in_force]:
        Endpoint.filter(pk=window.endpoint_id).update(
            frozen_from=window.starts, frozen_until=window.until, frozen_reason=window.reason
        )


class Migration(migrations.Migration):

    dependencies = [
        ('audit', '0001_initial'),
        ('registry', '0006_endpoint_fallback'),
    ]

    operations = [
        migrations.CreateModel(
            name='FreezeWindow',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('starts', models.DateTimeField(blank=True, help_text='When a planned freeze begins; empty: at once.', null=True)),
                ('until', models.DateTimeField()),
                ('reason', models.CharField(max_length=300)),
                ('by', models.CharField(blank=True, help_text='Who placed it, as the record names them.', max_length=100)),
                ('placed_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('lifted_at', models.DateTimeField(blank=True, null=True)),
                ('endpoint', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='freezes', to='registry.endpoint')),
            ],
            options={
                'indexes': [models.Index(condition=models.Q(('lifted_at', None)), fields=['endpoint', 'until'], name='registry_freeze_standing')],
            },
        ),
        migrations.RunPython(into_rows, into_columns),
        migrations.RemoveField(model_name='endpoint', name='frozen_from'),
        migrations.RemoveField(model_name='endpoint', name='frozen_until'),
        migrations.RemoveField(model_name='endpoint', name='frozen_reason'),
    ]
