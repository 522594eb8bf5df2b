"""Every setting of every process, read from the environment. A process knows only what its environment names."""

import secrets
from pathlib import Path
from urllib.parse import urlsplit

from config.env import Env, database
from config.languages import offered

BASE_DIR = Path(__file__).resolve().parent.parent
env = Env()

# --- this installation ---------------------------------------------------------------------------------------------
DEBUG = env.flag("DEBUG")
LASTGOOD_VAR = Path(env.text("LASTGOOD_VAR", str(BASE_DIR / "var"))).resolve()
LASTGOOD_PORT = env.integer("LASTGOOD_PORT", 8420, 1, 65535)
LASTGOOD_PUBLIC_URL = env.text("LASTGOOD_PUBLIC_URL", f"http://127.0.0.1:{LASTGOOD_PORT}").rstrip("/")
LASTGOOD_HOST_NETWORKS = env.words(
    "LASTGOOD_HOST_NETWORKS", "127.0.0.0/8,::1/128,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16"
)
LASTGOOD_REPOSITORIES = env.words("LASTGOOD_REPOSITORIES")
# Where the on-call calendars of teams may be: networks, or "public" for all of the Internet's addresses.
LASTGOOD_CALENDAR_NETWORKS = env.words("LASTGOOD_CALENDAR_NETWORKS", "public")
# Where webhooks that tell people may be.
LASTGOOD_TELLING_NETWORKS = env.words("LASTGOOD_TELLING_NETWORKS", "public")
# Where metrics are pulled from: servers that answer PromQL, and pages of figures of hosts and exporters.
LASTGOOD_PULL_NETWORKS = env.words("LASTGOOD_PULL_NETWORKS", ",".join(LASTGOOD_HOST_NETWORKS))
# Where HTTP checks that administrators register as gates may ask.
LASTGOOD_GATE_NETWORKS = env.words("LASTGOOD_GATE_NETWORKS", ",".join(LASTGOOD_HOST_NETWORKS))
LASTGOOD_LEASE_SECONDS = env.number("LASTGOOD_LEASE_SECONDS", 10, 0.5, 3600)
LASTGOOD_WATCH_PATIENCE_SECONDS = env.number("LASTGOOD_WATCH_PATIENCE_SECONDS", 60, 1, 86400)
LASTGOOD_CLOCK_SECONDS = env.number("LASTGOOD_CLOCK_SECONDS", 0.5, 0.05, 60)
LASTGOOD_DEAF_SECONDS = env.number("LASTGOOD_DEAF_SECONDS", 30, 0.5, 3600)
LASTGOOD_OBSERVE_SECONDS = env.number("LASTGOOD_OBSERVE_SECONDS", 15, 0.2, 3600)
LASTGOOD_GOLDEN_SECONDS = env.number("LASTGOOD_GOLDEN_SECONDS", 60, 0.5, 86400)
LASTGOOD_ROLE_REST_SECONDS = env.number("LASTGOOD_ROLE_REST_SECONDS", 86400, 0, 30 * 86400)
LASTGOOD_EVIDENCE_DAYS = env.integer("LASTGOOD_EVIDENCE_DAYS", 30, 0, 36_500)
LASTGOOD_PREDICTIONS_DAYS = env.integer("LASTGOOD_PREDICTIONS_DAYS", 400, 0, 36_500)
# How often a snapshot of each endpoint is taken; 0: only before changes and by hand.
LASTGOOD_SNAPSHOT_HOURS = env.number("LASTGOOD_SNAPSHOT_HOURS", 24, 0, 24 * 365)
# Snapshots older than so many days go, but the newest of each endpoint; 0: none.
LASTGOOD_SNAPSHOTS_DAYS = env.integer("LASTGOOD_SNAPSHOTS_DAYS", 90, 0, 36_500)
LASTGOOD_SNAPSHOTS_COUNT = env.integer("LASTGOOD_SNAPSHOTS_COUNT", 30, 1, 100_000)
# Files of models that nothing needs for so many days go, but those of the newest versions of each model; 0: none.
LASTGOOD_ARTIFACTS_DAYS = env.integer("LASTGOOD_ARTIFACTS_DAYS", 0, 0, 36_500)
LASTGOOD_ARTIFACTS_VERSIONS = env.integer("LASTGOOD_ARTIFACTS_VERSIONS", 10, 1, 100_000)
# Files of a version are read against their digests by a preflight or a ranking where that is so many days ago.
LASTGOOD_ARTIFACTS_CHECK_DAYS = env.number("LASTGOOD_ARTIFACTS_CHECK_DAYS", 7, 0, 3650)
# How long a drill that passed counts as fresh.
LASTGOOD_DRILL_FRESH_DAYS = env.number("LASTGOOD_DRILL_FRESH_DAYS", 30, 0.001, 3650)
LASTGOOD_METRICS_DAYS = env.integer("LASTGOOD_METRICS_DAYS", 400, 0, 36_500)
LASTGOOD_METRICS_HOURS_DAYS = env.integer("LASTGOOD_METRICS_HOURS_DAYS", 1200, 0, 36_500)
# An alert that fired more often than this in so many seconds is held back until it is quiet for as long.
LASTGOOD_FLAPPING_TIMES = env.integer("LASTGOOD_FLAPPING_TIMES", 5, 2, 1000)
LASTGOOD_FLAPPING_SECONDS = env.integer("LASTGOOD_FLAPPING_SECONDS", 1800, 1, 86400)
# How often the synthetic alert is sent through LASTGOOD_PUBLIC_URL; 0: never.
LASTGOOD_BEAT_SECONDS = env.number("LASTGOOD_BEAT_SECONDS", 60, 0, 3600)
# What deliveries may take on disk while the database is away.
LASTGOOD_SPOOL_BYTES = env.integer("LASTGOOD_SPOOL_BYTES", 2**28, 2**16, 2**40)
LASTGOOD_RUNBOOKS = env.text("LASTGOOD_RUNBOOKS", str(LASTGOOD_VAR / "runbooks"))
LASTGOOD_LOG_ORIGIN = env.text("LASTGOOD_LOG_ORIGIN", "lastgood.local/log")
LASTGOOD_LOG_KEY_FILE = env.text("LASTGOOD_LOG_KEY_FILE", "")
LASTGOOD_SEAL_KEY_FILE = env.text("LASTGOOD_SEAL_KEY_FILE", str(LASTGOOD_VAR / "seal" / "key"))
LASTGOOD_LAG_ALARM_SECONDS = env.number("LASTGOOD_LAG_ALARM_SECONDS", 5, 0.5, 86400)
LASTGOOD_WITNESSES = env.words("LASTGOOD_WITNESSES")
LASTGOOD_WITNESS_ALARM_SECONDS = env.number("LASTGOOD_WITNESS_ALARM_SECONDS", 900, 1, 86400 * 31)
LASTGOOD_WITNESS_TOKEN = env.secret("LASTGOOD_WITNESS_TOKEN", "")
LASTGOOD_DEMO = env.text("LASTGOOD_DEMO", "")
LASTGOOD_METRICS_TOKEN = env.secret("LASTGOOD_METRICS_TOKEN", "")

DATABASE_URL = env.text("DATABASE_URL", "")
# Commands that need no database (check, makemigrations, collectstatic) run without one, and sign nothing.
SECRET_KEY = env.secret("SECRET_KEY", None if DATABASE_URL else secrets.token_urlsafe(32))
SECRET_KEY_FALLBACKS = env.words("SECRET_KEY_FALLBACKS")
# The address under which serving hosts reach Lastgood to fetch files of models; empty: they are sent them. docs/host.md
LASTGOOD_ARTIFACTS_ADDRESS = env.text("LASTGOOD_ARTIFACTS_ADDRESS", "").rstrip("/")
ALLOWED_HOSTS = [*env.words("ALLOWED_HOSTS", "127.0.0.1,localhost,[::1]"), urlsplit(LASTGOOD_PUBLIC_URL).hostname]
if LASTGOOD_ARTIFACTS_ADDRESS:
    ALLOWED_HOSTS.append(urlsplit(LASTGOOD_ARTIFACTS_ADDRESS).hostname)
CSRF_TRUSTED_ORIGINS = env.words("CSRF_TRUSTED_ORIGINS", LASTGOOD_PUBLIC_URL)

# --- apps ----------------------------------------------------------------------------------------------------------
INSTALLED_APPS = [
    "config.apps.ProjectConfig",
    "incidents.rollback",
    "incidents.rollback.gating",
    "incidents.telling",
    "incidents.grouping",
    "incidents.oncall",
    "incidents.practice",
    "incidents.diagnosing",
    "incidents.working",
    "incidents.learning",
    "incidents",
    "monitoring.importance",
    "monitoring.pull",
    "monitoring",
    "registry.snapshots",
    "registry",
    "accounts",
    "audit",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
    "allauth.usersessions",
    "django_htmx",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_filters",
    "csp",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
]
MIDDLEWARE = [
    "config.latency.measured",
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "csp.middleware.CSPMiddleware",
    "config.middleware.safe_answers",
    "incidents.status_files.written_pages",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "config.languages.of_the_reader",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "accounts.step_up.by_the_databases_clock",
    "accounts.oidc.unreachable_provider",
    "allauth.account.middleware.AccountMiddleware",
    "allauth.usersessions.middleware.UserSessionsMiddleware",
]
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "accounts.context.broken_glass",
                *(["demo.views.panel"] if LASTGOOD_DEMO else []),
            ],
            # Every template marks its texts for translation.
            "builtins": ["django.templatetags.i18n"],
        },
    }
]

# --- databases: one PostgreSQL, three logins -----------------------------------------------------------------------
_LOGINS = {
    "default": ("DATABASE_URL", DATABASE_URL),
    "owner": ("OWNER_DATABASE_URL", env.values.get("OWNER_DATABASE_URL") or DATABASE_URL),
    "sequencer": ("SEQUENCER_DATABASE_URL", env.values.get("SEQUENCER_DATABASE_URL") or DATABASE_URL),
}
DATABASES = {
    alias: database(name, url, {"application_name": env.text("LASTGOOD_PROGRAM", "manage")})
    if url
    else {"ENGINE": "django.db.backends.dummy"}
    for alias, (name, url) in _LOGINS.items()
}
for _settings in DATABASES.values():
    _settings["CONN_MAX_AGE"] = env.integer("CONN_MAX_AGE", 60)

# --- Celery: see config/celery.py ----------------------------------------------------------------------------------
REDIS_URL = env.text("REDIS_URL", "redis://127.0.0.1:6379/0")
CACHES = {
    "default": {
        "BACKEND": "config.cache.SharedCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "lastgood-cache",
        "OPTIONS": {
            "serializer": "config.cache.JsonSerializer",
            "socket_connect_timeout": 1,
            "socket_timeout": 1,
        },
    }
}
CELERY_BROKER_URL = REDIS_URL
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_TASK_DEFAULT_QUEUE = "intake"
CELERY_TASK_CREATE_MISSING_QUEUES = False
CELERY_TASK_PUBLISH_RETRY_POLICY = {"max_retries": 1, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.2}
CELERY_BROKER_CONNECTION_TIMEOUT = 2
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
# Leases in rows bring work back within seconds; redelivery by the broker is only the second net.
CELERY_BROKER_TRANSPORT_OPTIONS = {"visibility_timeout": 3600, "socket_connect_timeout": 2, "socket_keepalive": True}
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_ENABLE_REMOTE_CONTROL = False
CELERY_TIMEZONE = "UTC"

# --- people --------------------------------------------------------------------------------------------------------
AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend",
    "accounts.backends.PasswordBackend",
    "accounts.backends.RoleBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
ACCOUNT_ADAPTER = "accounts.adapter.AccountAdapter"
USERSESSIONS_ADAPTER = "accounts.adapter.SessionsAdapter"
ACCOUNT_LOGIN_METHODS = {"username", "email"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "email*", "password1*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_LOGOUT_REDIRECT_URL = "/accounts/login/"
ACCOUNT_REAUTHENTICATION_TIMEOUT = 300
ACCOUNT_SESSION_REMEMBER = False
ACCOUNT_EMAIL_UNKNOWN_ACCOUNTS = False
# Failed sign-ins: by address, and by what accounts/throttles.py tells apart.
ACCOUNT_RATE_LIMITS = {"login": "60/m/ip", "login_failed": "20/m/ip,5/5m/key"}
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_TOTP_ISSUER = "Lastgood"
# Sign-in by an OpenID Connect provider, where one is named. Who comes from there for the first time has no role.
OIDC_ISSUER = env.text("LASTGOOD_OIDC_ISSUER", "").rstrip("/")
# Where the provider may be: networks, or "public" for all of the Internet's addresses.
LASTGOOD_OIDC_NETWORKS = env.words("LASTGOOD_OIDC_NETWORKS", "public")
OIDC_ORIGINS = env.words("LASTGOOD_OIDC_ORIGINS", f"{urlsplit(OIDC_ISSUER).scheme}://{urlsplit(OIDC_ISSUER).netloc}")
SOCIALACCOUNT_ADAPTER = "accounts.oidc.OidcAdapter"
SOCIALACCOUNT_PROVIDERS = {
    "openid_connect": {
        "OAUTH_PKCE_ENABLED": True,
        "APPS": [
            {
                "provider_id": "oidc",
                "name": env.text("LASTGOOD_OIDC_NAME", "single sign-on"),
                "client_id": env.text("LASTGOOD_OIDC_CLIENT_ID"),
                "secret": env.secret("LASTGOOD_OIDC_CLIENT_SECRET"),
                "settings": {"server_url": OIDC_ISSUER},
            }
        ]
        if OIDC_ISSUER
        else [],
    }
}
SESSION_ENGINE = "accounts.sessions"
SESSION_COOKIE_AGE = env.integer("SESSION_COOKIE_AGE", 12 * 3600, 60)

# --- cookies, headers ----------------------------------------------------------------------------------------------
SECURE_COOKIES = env.flag("SECURE_COOKIES", LASTGOOD_PUBLIC_URL.startswith("https://"))
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_COOKIES
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True
# A browser takes a cookie of this prefix from this very host only, over TLS, and for all paths.
_HOST = "__Host-" if SECURE_COOKIES else ""
SESSION_COOKIE_NAME, CSRF_COOKIE_NAME, DEVICE_COOKIE_NAME = (
    f"{_HOST}{name}" for name in ("sessionid", "csrftoken", "device")
)
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"
SECURE_HSTS_SECONDS = env.integer("SECURE_HSTS_SECONDS", 31536000 if SECURE_COOKIES else 0)
SECURE_HSTS_INCLUDE_SUBDOMAINS = env.flag("SECURE_HSTS_INCLUDE_SUBDOMAINS")
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
# Only behind a proxy that overwrites X-Forwarded-Proto and adds the client to X-Forwarded-For. Then what comes by plain
# HTTP is sent to TLS, but for what the machine itself asks.
TRUST_PROXY = env.flag("TRUST_PROXY")
if TRUST_PROXY:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
ALLAUTH_TRUSTED_PROXY_COUNT = 1 if TRUST_PROXY else 0
SECURE_SSL_REDIRECT = TRUST_PROXY and SECURE_COOKIES
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics$"]
# Browsers' preload lists are for whoever owns the whole domain to decide on.
SILENCED_SYSTEM_CHECKS = ["security.W021"]
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "object-src": ["'none'"],
        "base-uri": ["'none'"],
        # A browser holds the way to the provider, which the button on the sign-in page leads to, against this as well.
        "form-action": ["'self'", *(OIDC_ORIGINS if OIDC_ISSUER else [])],
        "frame-ancestors": ["'none'"],
    }
}

# --- API -----------------------------------------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "accounts.authentication.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["accounts.authentication.HasScope"],
    "DEFAULT_PARSER_CLASSES": ["accounts.parsers.StrictJsonParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_FILTER_BACKENDS": ["accounts.filters.StrictFilterBackend"],
    "DEFAULT_SCHEMA_CLASS": "accounts.schema.OperationSchema",
    "DEFAULT_PAGINATION_CLASS": "accounts.pagination.Pages",
    "PAGE_SIZE": 50,
    "EXCEPTION_HANDLER": "accounts.problems.exception_handler",
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Lastgood",
    "DESCRIPTION": "Everything a person can do on Lastgood's pages, for programs with a scoped token.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["accounts.authentication.HasScope"],
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "COMPONENT_SPLIT_REQUEST": True,
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "accounts.schema.document_problems",
    ],
    # Choices of one field name in several tables: each set is called after its own.
    "ENUM_NAME_OVERRIDES": {
        "IncidentStateEnum": "incidents.models.IncidentState",
        "EnvironmentEnum": "registry.models.Environment",
        "IncidentRoleEnum": "incidents.models.IncidentRole",
        "ComponentStateEnum": "incidents.models.ComponentState",
        "RoleEnum": "accounts.models.Role",
        "CheckAnswerEnum": "incidents.rollback.models.CheckAnswer",
        "PlanKindEnum": "incidents.rollback.models.PlanKind",
        "HoldKindEnum": "audit.models.HoldKind",
        "AlertRuleKindEnum": "monitoring.rules.models.AlertRuleKind",
        "DecisionEnum": "accounts.approvals.models.Decision",
        "ArrivalDecisionEnum": "monitoring.inbound.models.Decision",
        "WayKindEnum": "incidents.telling.models.Kind",
        "EscalationStateEnum": "incidents.oncall.models.State",
        "CompositionKindEnum": "registry.models.CompositionKind",
        "GateKindEnum": "incidents.rollback.gating.models.GateKind",
        "RuleKindEnum": "monitoring.models.RuleKind",
        "SignatureKindEnum": "incidents.learning.models.SignatureKind",
        "CauseEnum": "incidents.learning.models.Cause",
        "ExactStateEnum": "monitoring.comparing.models.ExactState",
    },
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
}

# --- uploads -------------------------------------------------------------------------------------------------------
DATA_UPLOAD_MAX_MEMORY_SIZE = env.integer("DATA_UPLOAD_MAX_BYTES", 32 * 2**20, 2**16)

LASTGOOD_BLOB_MAX_BYTES = env.integer("LASTGOOD_BLOB_MAX_BYTES", 64 * 2**30, 2**20, 2**50)
LASTGOOD_BLOB_SPARE_BYTES = env.integer("LASTGOOD_BLOB_SPARE_BYTES", 2**30, 0, 2**50)
# Where artifacts are kept: s3://bucket/prefix or file:///directory; empty: LASTGOOD_VAR/artifacts. docs/snapshots.md
LASTGOOD_ARTIFACTS_URL = env.text("LASTGOOD_ARTIFACTS_URL", "")
LASTGOOD_ARTIFACTS_ENDPOINT = env.text("LASTGOOD_ARTIFACTS_ENDPOINT", "").rstrip("/")
LASTGOOD_ARTIFACTS_REGION = env.text("LASTGOOD_ARTIFACTS_REGION", "")
LASTGOOD_ARTIFACTS_KEY_ID = env.secret("LASTGOOD_ARTIFACTS_KEY_ID", "")
LASTGOOD_ARTIFACTS_SECRET = env.secret("LASTGOOD_ARTIFACTS_SECRET", "")
# What copies of a bucket's artifacts may take on this machine; those in use may take more.
LASTGOOD_ARTIFACTS_CACHE_BYTES = env.integer("LASTGOOD_ARTIFACTS_CACHE_BYTES", 100 * 2**30, 0, 2**50)

# --- static files, languages, clocks -------------------------------------------------------------------------------
STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATIC_ROOT = LASTGOOD_VAR / "static"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
MEDIA_ROOT = LASTGOOD_VAR / "media"
# Catalogues, <language>/LC_MESSAGES/django.mo: each language that has one is offered beside English. docs/languages.md
LOCALE_PATHS = [Path(env.text("LASTGOOD_LOCALE", str(BASE_DIR / "locale")))]
LANGUAGES = offered(LOCALE_PATHS[0])
# Of status pages, and of whoever asks for no language that is offered.
LANGUAGE_CODE = env.text("LASTGOOD_LANGUAGE", "en")
USE_TZ = True
TIME_ZONE = "UTC"

# --- mail ----------------------------------------------------------------------------------------------------------
EMAIL_BACKEND = f"django.core.mail.backends.{'smtp' if env.values.get('EMAIL_HOST') else 'console'}.EmailBackend"
EMAIL_HOST = env.text("EMAIL_HOST", "localhost")
EMAIL_PORT = env.integer("EMAIL_PORT", 587, 1, 65535)
EMAIL_HOST_USER = env.text("EMAIL_HOST_USER", "")
EMAIL_HOST_PASSWORD = env.secret("EMAIL_HOST_PASSWORD", "")
EMAIL_USE_TLS = env.flag("EMAIL_USE_TLS", True)
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = env.text("DEFAULT_FROM_EMAIL", "lastgood@localhost")

# --- logging: one line per event on stderr, kept and rotated by whoever runs the process ---------------------------
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {"()": "config.logs.OneLine", "fmt": "{asctime} {levelname} {name} {message}", "style": "{"},
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": env.text("LOG_LEVEL", "INFO").upper()},
    "loggers": {
        "celery.worker.strategy": {"level": "WARNING"},
        "celery.app.trace": {"level": "WARNING"},
        "httpx": {"level": "WARNING"},
    },
}
