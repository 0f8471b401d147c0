"""What packages for numbers and pictures make of their surroundings when they are imported, made again in a kernel that
did not import them itself: at the moment at which a cell imports them.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from manylab.warm import process, renew

# Kinds of libraries that start threads of their own, by what their files are called.
_KINDS: Final = {"openblas": "openblas", "libgomp": "openmp", "libomp": "openmp", "libiomp": "openmp", "mkl_rt": "mkl"}
_PREFIXES: Final = ("scipy_", "")
_SUFFIXES: Final = ("64_", "", "_")
_MOST_THREADS: Final = 64  # OpenBLAS in the wheels of numpy and scipy

Set = Callable[[int], None]


def loaded() -> dict[str, str]:
    """Files of such libraries in this process -> their kind."""
    found = {}
    for line in Path("/proc/self/maps").read_text(errors="replace").splitlines():
        path = line.partition("/")[2]
        for part, kind in _KINDS.items():
            if part in path.rpartition("/")[2]:
                found["/" + path] = kind
    return found


def blas() -> list[tuple[str, Set]]:
    """For each OpenBLAS in this process, the package it came with and what sets its number of threads."""
    found: list[tuple[str, Set]] = []
    for path, kind in loaded().items():
        if kind == "openblas" and (setter := _setter(path)) is not None:
            found.append(("scipy" if "/scipy.libs/" in path else "numpy", setter))
    return found


def _setter(path: str) -> Set | None:
    with contextlib.suppress(OSError):
        library = ctypes.CDLL(path, mode=os.RTLD_NOLOAD | os.RTLD_NOW)
        for prefix in _PREFIXES:
            for suffix in _SUFFIXES:
                with contextlib.suppress(AttributeError):
                    function: Set = library[f"{prefix}openblas_set_num_threads{suffix}"]
                    return function
    return None


def threads(environ: Mapping[str, str], processors: int) -> int:
    """How many threads OpenBLAS would have begun with (its driver/others/memory.c). Pure."""
    for name in ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS"):
        if (wanted := _number(environ.get(name, ""))) > 0:
            return min(wanted, processors, _MOST_THREADS)
    return min(processors, _MOST_THREADS)


def _number(text: str) -> int:
    """atoi(3)."""
    digits = ""
    for character in text.strip():
        if not character.isdecimal():
            break
        digits += character
    return int(digits or 0)


class Renewal:
    """What to do when a preloaded module comes to light. fonts: matplotlib's list of fonts as the nursery wrote it."""

    def __init__(self, fonts: bytes) -> None:
        self.fonts = fonts
        self._blas = blas()
        # readline handles it in C, from its import on; a child begins without.
        self._resized = process.handler_in_c(signal.SIGWINCH)

    def table(self) -> dict[str, Callable[[ModuleType], None]]:
        """By the name of the module."""
        table: dict[str, Callable[[Any], None]] = {
            "readline": lambda module: self._resized(),
            "numpy": lambda module: self._blas_threads("numpy"),
            "numpy.random": _random,
            "numexpr": _numexpr,
            "pandas.core.config_init": _pandas,
            "multiprocessing": _multiprocessing,
            "multiprocessing.process": _process,
            "scipy": lambda module: self._blas_threads("scipy"),
            "matplotlib": _matplotlib,
            "matplotlib.font_manager": self._fonts,
            "matplotlib.style": _style,
            "matplotlib.style.core": _style,
            "matplotlib.texmanager": _tex,
            "jedi.settings": _jedi,
            "parso.cache": _parso,
        }
        return {name: _careful(function) for name, function in table.items()}

    def _blas_threads(self, package: str) -> None:
        count = threads(os.environ, len(os.sched_getaffinity(0)))
        for owner, setter in self._blas:
            if owner == package and count > 1:
                setter(count)

    def _fonts(self, module: Any) -> None:
        home = Path.home()
        data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local/share")
        module._HOME = home
        module.MSUserFontDirectories[:] = [str(home / f"AppData/{part}/Microsoft/Windows/Fonts") for part in _WINDOWS]
        module.X11FontDirectories[-2:] = [str(data / "fonts"), str(home / ".fonts")]
        module.OSXFontDirectories[-1:] = [str(home / "Library/Fonts")]
        manager = module.fontManager
        kept = Path(module.mpl.get_cachedir(), f"fontlist-v{type(manager).__version__}.json")
        with contextlib.suppress(OSError):
            if kept.read_bytes() == self.fonts:
                return
        own = any(folder.is_dir() and any(folder.iterdir()) for folder in (data / "fonts", home / ".fonts"))
        if kept.exists() or own or not self.fonts:
            vars(manager).update(vars(module._load_fontmanager()))
            return
        with contextlib.suppress(OSError):
            kept.write_bytes(self.fonts)
            module._log.info("generated new fontManager")


_WINDOWS: Final = ("Local", "Roaming")


def _careful(function: Callable[[Any], None]) -> Callable[[ModuleType], None]:
    """An import never fails because another version of a package is made differently."""

    def renew(module: Any) -> None:
        with contextlib.suppress(Exception):
            function(module)

    return renew


def _random(module: Any) -> None:
    # A new generator, not only a new seed: what it was seeded with can be asked for.
    if hasattr(module, "set_bit_generator"):
        module.set_bit_generator(module.MT19937())
    else:
        module.seed()


def _numexpr(module: Any) -> None:
    # It was imported with one thread; now it begins with as many as anywhere.
    module.nthreads = module.utils._init_num_threads()


def _pandas(module: Any) -> None:
    # Options whose defaults variables can change. The module's own code says which: it is run once more, and what it
    # registers is set instead.
    if not any(name.startswith("PANDAS_") for name in os.environ):
        return
    config = module.cf
    usual = config.register_option, config.deprecate_option

    def register(key: str, defval: object, *_: object, **more: object) -> None:
        key = key.lower()
        config._registered_options[key] = config._registered_options[key]._replace(defval=defval)
        *folders, last = key.split(".")
        place = config._global_config
        for folder in folders:
            place = place[folder]
        place[last] = defval

    config.register_option, config.deprecate_option = register, lambda *_, **more: None
    try:
        exec(module.__spec__.loader.get_code(module.__name__), {"__name__": module.__name__})  # noqa: S102  their own
    finally:
        config.register_option, config.deprecate_option = usual


def _process(module: Any) -> None:
    renew.multiprocessing_key(module)
    # Where spawned children look for modules in the place of the '' of sys.path.
    module.ORIGINAL_DIR = str(Path.cwd())


def _multiprocessing(module: Any) -> None:
    # As its own __init__ does, for objects that were pickled in a spawned child.
    sys.modules["__mp_main__"] = sys.modules["__main__"]


def _matplotlib(module: Any) -> None:
    for name in ("get_configdir", "get_cachedir"):
        _forget(getattr(module, name))
    file = module.matplotlib_fname()
    if Path(file).resolve() != Path(module.get_data_path(), "matplotlibrc").resolve():
        # Written since the kernel began; one that was there before has made this kernel a cold one.
        module.rcParams.update(module._rc_params_in_file(file))
        module.rcParamsOrig.update(module.rcParams)
    if backend := os.environ.get("MPLBACKEND"):
        module.rcParams["backend"] = backend
    else:
        # As in a file of settings, or to be found out; without that reading it does so at once.
        dict.__setitem__(module.rcParams, "backend", dict.__getitem__(module.rcParamsOrig, "backend"))


def _forget(function: Any) -> None:
    """What `_logged_cached` of matplotlib remembers."""
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    cells["called"].cell_contents = False


def _style(module: Any) -> None:
    if isinstance(paths := getattr(module, "USER_LIBRARY_PATHS", None), list):
        stylelib = Path(module.mpl.get_configdir(), "stylelib")
        paths[:] = [str(stylelib)]
        if stylelib.is_dir():
            module.reload_library()


def _tex(module: Any) -> None:
    manager = module.TexManager
    manager._cache_dir = type(manager._cache_dir)(module.mpl.get_cachedir(), "tex.cache")


def _cache() -> str:
    return os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())


def _jedi(module: Any) -> None:
    module.cache_directory = str(Path(_cache(), "jedi"))


def _parso(module: Any) -> None:
    module._default_cache_path = module._get_default_cache_path()


def matplotlib_files(environ: Mapping[str, str], folder: str) -> str | None:
    """Settings of a person's own for matplotlib, if there are any: what they change at import cannot all be undone."""
    if "MATPLOTLIBRC" in environ:
        return "MATPLOTLIBRC"
    base = environ.get("XDG_CONFIG_HOME") or str(Path(environ.get("HOME") or "~", ".config").expanduser())
    config = Path(environ.get("MPLCONFIGDIR") or Path(base, "matplotlib"))
    for path in (Path(folder, "matplotlibrc"), config / "matplotlibrc", config / "stylelib"):
        if path.exists():
            return str(path)
    return None
