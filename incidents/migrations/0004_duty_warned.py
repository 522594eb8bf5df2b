"""What is on record of a duty's deadline, so that the clock says it once."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("incidents", "0003_duties_to_report")]

    operations = [
        migrations.AddField(
            model_name="incidentduty",
            name="warned",
            field=models.CharField(
                blank=True, default="", help_text="What is on record of its deadline: soon, overdue.", max_length=7
            ),
        ),
    ]
