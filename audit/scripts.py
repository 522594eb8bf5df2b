"""What scripts say to people (static/js): each text that is handed to `say`, so that catalogues have it."""

from django.utils.translation import gettext_noop

TEXTS = (
    gettext_noop("just now"),
    gettext_noop("in %(time)s"),
    gettext_noop("%(time)s ago"),
    gettext_noop("%(count)s new"),
    gettext_noop("Copied."),
    gettext_noop("The browser did not allow copying."),
    gettext_noop("The connection is lost."),
    gettext_noop("The connection is back."),
    gettext_noop("The server does not answer."),
    gettext_noop("The server answered with an error (%(status)s)."),
    gettext_noop(
        "That did not work: the server answered with an error (%(status)s). Nothing you typed is lost; try again."
    ),
    gettext_noop("%(why)s What you see is %(age)s s old (%(time)s). Trying again by itself; what you typed is kept."),
    gettext_noop("You have been signed out."),
    gettext_noop("Sign in again"),
    gettext_noop("This chart could not be drawn: %(why)s. Its numbers are in the table below."),
    gettext_noop(
        "This address can't use passkeys: they need a name such as localhost or a domain with https, not a number."
    ),
    gettext_noop("This key is registered already."),
    gettext_noop("Nothing was confirmed: the dialog was closed, timed out, or knew no passkey for this place."),
    gettext_noop("The passkey did not work. Try again, or use another way."),
)
