"""The words of the record, which are the same whatever language its writer reads in, and of what is told outside."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.conf import settings
from django.utils import translation

ENGLISH = "en"


@contextmanager
def english() -> Iterator[None]:
    """Have all texts within the block, or within the function that it decorates, in English.

    For what is kept under a digest or signed: it must come out the same for whoever looks at it later.
    """
    with translation.override(ENGLISH):
        yield


@contextmanager
def outside() -> Iterator[None]:
    """Have all texts within the block, or within the function that it decorates, in the language of LASTGOOD_LANGUAGE.

    For letters, calls and status pages: their readers ask for no language, and who writes them may read another.
    """
    with translation.override(settings.LANGUAGE_CODE):
        yield


def in_english(words: object | Callable[[], object]) -> str:
    """What a label or a `get_..._display` says in English.

    Whatever goes into an event, a stored sentence or the API is taken through this where a catalogue could have it in
    another language.
    """
    with english():
        return str(words() if callable(words) else words)
