import sys
import textwrap

import pytest


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """Install a package that offers one algorithm by entry point, as a third party would."""

    def install(name, source):
        site = tmp_path / "site"
        folder = site / f"{name}_plugin-1.0.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}-plugin\nVersion: 1.0\n"
        )
        (folder / "entry_points.txt").write_text(
            f"[tidegate.algorithms]\n{name} = {name}_plugin:{name.upper()}\n"
        )
        header = "from dataclasses import replace\nfrom tidegate.models.linear import LOGISTIC\n"
        (site / f"{name}_plugin.py").write_text(header + textwrap.dedent(source))
        monkeypatch.syspath_prepend(str(site))
        monkeypatch.delitem(sys.modules, f"{name}_plugin", raising=False)

    return install
