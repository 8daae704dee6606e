"""The house keeps its rules: sizes, words, translations, addresses."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from armonika.web.messages import faults

CHECKOUT = Path(__file__).parents[2]
FILES = [
    CHECKOUT / name
    for name in subprocess.run(["git", "ls-files"], cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout.splitlines()
]


def test_no_code_file_is_longer_than_500_lines_and_most_are_under_200() -> None:
    sizes = {
        path: len(path.read_text().splitlines())
        for path in FILES
        if path.suffix in (".py", ".sql", ".html", ".css") and path.exists()
    }
    assert len(sizes) > 100
    assert not {str(path): size for path, size in sizes.items() if size > 500}
    assert sum(size < 200 for size in sizes.values()) / len(sizes) > 0.85


def test_no_file_names_a_registry() -> None:
    hosts = ["py" + "pi.org", "python" + "hosted", "registry.npm" + "js", "deb.deb" + "ian.org", "crates" + ".io"]
    for path in FILES:
        if path.exists():
            text = path.read_bytes().decode("utf-8", "ignore")
            assert not [host for host in hosts if host in text], path


def test_every_text_is_translated() -> None:
    assert faults() == []


def test_styles_use_logical_properties_only() -> None:
    css = (CHECKOUT / "armonika/design/static/armonika.css").read_text()
    assert not re.findall(r"(?:margin|padding|border)-(?:left|right)|text-align:\s*(?:left|right)|[^-]\b(?:left|right)\s*:", css)


def test_templates_hold_no_inline_code() -> None:
    for path in (CHECKOUT / "armonika/design/templates").glob("*.html"):
        text = path.read_text()
        assert not re.search(r"<script(?![^>]*\bsrc=)|\bon[a-z]+=|style=|<style|javascript:|https?://", text), path


def test_links_in_documents_lead_somewhere() -> None:
    for path in FILES:
        if path.suffix == ".md" and path.exists():
            for target in re.findall(r"\]\(([^)#\s]+)", path.read_text()):
                if "://" not in target and not target.startswith("mailto:"):
                    assert (path.parent / target).exists(), f"{path}: {target}"


def test_help_loads_nothing_that_it_does_not_need() -> None:
    """Each of these takes longer to load than all of the command's own."""
    asked = "import sys; from armonika.doors.cli.main import main; main(['--help']); print([name for name in ('asyncpg', 'cryptography', 'django', 'httpx', 'litestar', 'msgspec', 'psycopg') if name in sys.modules])"
    said = subprocess.run([sys.executable, "-c", asked], cwd=CHECKOUT, capture_output=True, check=True, text=True)
    assert said.stdout.splitlines()[-1] == "[]"
