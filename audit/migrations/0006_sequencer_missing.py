"""What the log's protection lacks, as the sequencer finds it."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("audit", "0005_search_indexes")]

    operations = [
        migrations.AddField(
            model_name="auditsequencer",
            name="missing",
            field=models.TextField(blank=True, db_default="", default=""),
        ),
    ]
