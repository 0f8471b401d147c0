"""Files of the server environment that say the same to every server, read and worked out once: the schemas of
JupyterLab's settings, which a browser asks for all at once, and the template of its page. `known` puts it in place.
"""

from __future__ import annotations

import marshal
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jinja2 import BytecodeCache
from jinja2.bccache import Bucket

Schema = tuple[dict[str, Any], str]


class KnownSchemaFiles:
    """In place of what reads one schema and its version. A browser that loads JupyterLab asks for 86, which takes a
    tenth of a server's first visit. A file is known by its place, its inode, its size and its times.

    Each answer is a copy of its own: JupyterLab translates schemas where they are.
    """

    def __init__(self, real: Callable[..., Schema]) -> None:
        self.real = real
        self._known: dict[tuple[Any, ...], bytes] = {}

    def __call__(
        self,
        schemas_dir: str,
        schema_name: str,
        overrides: Mapping[str, Any],
        labextensions_path: Sequence[str] | None = None,
    ) -> Schema:
        # What a site or a person has set anew is worked out, and examined, anew.
        key = None if schema_name in overrides else file_of(schemas_dir, schema_name, labextensions_path)
        if key is not None and (known := self._known.get(key)) is not None:
            schema, version = marshal.loads(known)  # noqa: S302 (what this process itself made of it)
            return schema, version
        schema, version = self.real(schemas_dir, schema_name, overrides, labextensions_path)
        if key is not None and key == file_of(schemas_dir, schema_name, labextensions_path):
            self._known[key] = marshal.dumps((schema, version))
        return schema, version


def file_of(schemas_dir: str, schema_name: str, labextensions_path: Sequence[str] | None) -> tuple[Any, ...] | None:
    """Which file JupyterLab reads for a schema, and everything that changes when it does; None: none that is known."""
    extension, colon, plugin = schema_name.partition(":")
    if not colon or ":" in plugin:
        return None
    for folder in (*(f"{path}/{extension}/schemas" for path in labextensions_path or ()), schemas_dir):
        path = f"{folder}/{extension}/{plugin}.json"
        try:
            status = os.stat(path)  # noqa: PTH116 (86 times a visit)
        except OSError:
            continue
        return path, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
    return None


class KnownTemplates(BytecodeCache):
    """What Jinja makes of a template's text. The template of JupyterLab's page takes 5 ms."""

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], Any] = {}

    def get_bucket(self, environment: Any, name: str, filename: str | None, source: str) -> Bucket:
        # By its whole text, and by what else decides what becomes of it.
        options = (environment.autoescape, tuple(sorted(environment.extensions)), environment.is_async)
        bucket = Bucket(environment, repr((name, filename, options)), source)
        self.load_bytecode(bucket)
        return bucket

    def load_bytecode(self, bucket: Bucket) -> None:
        bucket.code = self._known.get((bucket.key, bucket.checksum))

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._known[bucket.key, bucket.checksum] = bucket.code


class KnowingEnvironment:
    """In place of the class of Jinja's environments of server extensions: makes them with KnownTemplates."""

    def __init__(self, real: Callable[..., Any]) -> None:
        self._real = real
        self._templates = KnownTemplates()

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self._real(*arguments, **{"bytecode_cache": self._templates, **options})
