"""A package that takes long to import and is hardly ever used: imported at its first use."""

from __future__ import annotations

import sys
from importlib.util import find_spec, module_from_spec
from typing import Any


def later(name: str, function: str) -> None:
    """Have `import name` and `from name import function` cost nothing until that function is called, or anything else
    of the package is asked for. Without effect where there is no such package, and where it was imported before.
    """
    if name in sys.modules or (spec := find_spec(name)) is None or (loader := spec.loader) is None:
        return
    module = module_from_spec(spec)

    def load() -> None:
        # Gone before the package's own code runs, which may ask for what it has not made yet.
        if vars(module).pop("__getattr__", None) is not None:
            try:
                loader.exec_module(module)
            except BaseException:
                vars(module)["__getattr__"] = find  # the next one finds out as well
                raise

    def call(*arguments: Any, **more: Any) -> Any:
        load()
        return vars(module)[function](*arguments, **more)

    def find(attribute: str) -> Any:
        load()
        return getattr(module, attribute)

    vars(module).update({function: call, "__getattr__": find})
    sys.modules[name] = module


def grammar_of_addresses() -> None:
    """Of Jupyter's and JupyterHub's imports the one that costs most, more than a second of a processor: jsonschema
    imports rfc3987_syntax for strings that have to be an internationalised address ("format": "iri"), and that package
    compiles its grammar three times when it is imported. No schema of Jupyter's has such strings.
    """
    later("rfc3987_syntax", "is_valid_syntax")
