from django.db import migrations, models
from django.db.models.functions import Now


class Migration(migrations.Migration):
    dependencies = [("monitoring", "0003_kept_deliveries")]

    operations = [
        migrations.CreateModel(
            name="WebhookSource",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.SlugField(max_length=40, unique=True)),
                ("secret_sealed", models.BinaryField(default=b"")),
                ("previous_sealed", models.BinaryField(default=b"")),
                ("previous_until", models.DateTimeField(blank=True, null=True)),
                ("created_at", models.DateTimeField(db_default=Now())),
                ("ended_at", models.DateTimeField(blank=True, null=True)),
            ],
        ),
        migrations.AddField(
            model_name="delivery",
            name="sent_at",
            field=models.DateTimeField(
                blank=True, help_text="When its sender signed it; empty where it came unsigned.", null=True
            ),
        ),
    ]
