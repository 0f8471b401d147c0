"""The language of a person's Lab: what they chose there, else the site's, else what their browser asks for.

JupyterLab calls a choice that was not made "default", and takes the language of the server's process for it, which is
the same for everybody. Here it is answered for each request, so the same server speaks Chinese in one browser and
English in another.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final

import json5

from manylab.base import languages
from manylab.lab import own

_DEFAULT: Final = "default"
# Where JupyterLab keeps the language that its owner chose from the Settings menu.
_CHOICE: Final = "@jupyterlab/translation-extension/plugin.jupyterlab-settings"
_LANGUAGES_OF_SENTENCES: Final = ("en", "zh")
# Accept-Language of the browser that asked last, for what is said without a request.
_last: list[str] = [""]


def use() -> None:
    """Have JupyterLab ask here what "default" is."""
    settings: Any = importlib.import_module("jupyterlab_server.settings_utils")
    handler: Any = importlib.import_module("jupyterlab_server.translations_handler").TranslationsHandler
    if getattr(handler.get, "of_manylab", False):
        return
    get, current = handler.get, settings.SchemaHandler.get_current_locale

    def get_translations(self: Any, locale: str | None = None) -> Any:
        return get(self, default(self.request.headers) if locale in ("", _DEFAULT) else locale)

    def get_current_locale(self: Any) -> str:
        # Read by the function that is called next, which does not wait for anything.
        settings.SYS_LOCALE = default(self.request.headers)
        return str(current(self))

    get_translations.of_manylab = True  # type: ignore[attr-defined]
    handler.get = get_translations
    settings.SchemaHandler.get_current_locale = get_current_locale


def default(headers: Mapping[str, str]) -> str:
    """The locale for a browser whose owner has chosen none, as JupyterLab writes it: "zh_CN"."""
    asked = headers.get("Accept-Language", "")
    if asked:
        _last[0] = asked
    return of_site(own.environ, asked, packs())


def of_site(environ: Mapping[str, str], accept_language: str, offered: Iterable[str]) -> str:
    """The site's language, or with "auto" the browser's among those offered. Pure."""
    site = environ.get("MANYLAB_LANGUAGE", "auto")
    return languages.choose(accept_language, offered) if site == "auto" else site


@functools.cache
def packs() -> tuple[str, ...]:
    """The languages that JupyterLab is installed in."""
    return ("en", *(pack.name for pack in entry_points(group="jupyterlab.languagepack")))


def of_sentences(headers: Mapping[str, str] | None = None, environ: Mapping[str, str] | None = None) -> str:
    """Either "zh" or "en", for our own sentences in the Lab. headers: of the request that is answered, if there is one;
    else those of the last browser count.
    """
    environ = own.environ if environ is None else environ
    chosen = _chosen(environ.get("JUPYTERLAB_SETTINGS_DIR"))
    asked = (headers or {}).get("Accept-Language") or _last[0]
    locale = chosen or of_site(environ, asked, _LANGUAGES_OF_SENTENCES)
    return languages.choose(locale, _LANGUAGES_OF_SENTENCES)


def _chosen(user_settings: str | None) -> str | None:
    if not user_settings:
        return None
    try:
        found = json5.loads(Path(user_settings, _CHOICE).read_text(encoding="utf-8"))
    except Exception:  # json5 raises more than ValueError; and whatever is wrong here, the Lab shows its default
        return None
    locale = found.get("locale") if isinstance(found, dict) else None
    return locale if isinstance(locale, str) and locale != _DEFAULT else None
