"""The package as others get it: what `make dist` builds, installed, and used from outside the checkout."""

import importlib.resources
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
PAGES = {page.name: page.read_text() for page in (ROOT / "docs").glob("*.md")}
SOURCES = {"hbo_plugin/_sampler.pyi", "hbo_plugin/py.typed", "hbo_plugin/plugin.py", "hbo_plugin/docs/index.md"}
SOURCES |= {f"hbo_plugin/report/page.{ending}" for ending in ("html", "css", "js")}
REPOSITORY_ONLY = ("tests/", "benchmarks/", "axolotl_configs/")


def run(*command: str | Path, cwd: Path) -> str:
    """The output of a command; a failure shows all that it said."""
    done = subprocess.run(command, cwd=cwd, check=False, capture_output=True, text=True, env=environment())
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def environment() -> dict[str, str]:
    """Ours, but nothing is fetched, and Rust finds what it has compiled before."""
    ours = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return {"CARGO_TARGET_DIR": str(ROOT / "target"), **ours, "UV_OFFLINE": "1", "CARGO_NET_OFFLINE": "true"}


@pytest.fixture(scope="module")
def dist() -> Path:
    """The folder with the wheel and the sdist of a release, as they are published."""
    run("make", "dist", cwd=ROOT)
    return ROOT / "dist"


@pytest.fixture(scope="module")
def released(dist: Path) -> Path:
    """The wheel of the release."""
    (wheel,) = dist.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def sdist(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist of the release, unpacked."""
    folder = tmp_path_factory.mktemp("sdist")
    (archive,) = dist.glob("*.tar.gz")
    with tarfile.open(archive) as content:
        content.extractall(folder, filter="data")
    for path in folder.rglob("*"):
        path.touch()  # its files are dated 2006: cargo would use what it compiled from the checkout instead
    return folder / archive.name.removesuffix(".tar.gz")


@pytest.fixture(scope="module")
def built(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that pip would build from the sdist, built with the tools that are already here."""
    folder = tmp_path_factory.mktemp("wheel")
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    build = ["uv", "build", "--wheel", "--no-build-isolation", "--python", sys.executable, "--out-dir", str(folder)]
    run("env", f"PATH={path}", *build, str(sdist), cwd=folder)
    return next(folder.glob("*.whl"))


@pytest.fixture(params=["released", "built"])
def wheel(request: pytest.FixtureRequest) -> Path:
    """Each of the two wheels."""
    path: Path = request.getfixturevalue(request.param)
    return path


@pytest.fixture(scope="module")
def pins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What this environment holds, apart from our own package and from what pip, not uv, has put there."""
    file = tmp_path_factory.mktemp("pins") / "pins.txt"
    frozen = run(BIN / "uv", "pip", "freeze", "--exclude-editable", "--python", sys.executable, cwd=ROOT)
    lines = [line for line in frozen.splitlines() if not line.startswith(("pip==", "uv=="))]
    file.write_text("\n".join(lines))
    return file


def make_venv(folder: Path) -> Path:
    """A new environment without anything in it; returns its Python."""
    run(BIN / "uv", "venv", "--quiet", "--python", sys.executable, folder, cwd=ROOT)
    return folder / "bin" / "python"


def test_the_sdist_is_complete(sdist: Path) -> None:
    kept = ["LICENSE", "README.md", "Cargo.toml", "Cargo.lock", "hbo_sampler_rs/Cargo.toml", "pyproject.toml"]
    for path in (*kept, "tests/conftest.py", "axolotl_configs/quickstart.yml", *SOURCES):
        assert (sdist / path).is_file(), path
        assert not (sdist / path).is_symlink(), path
    assert not list(sdist.rglob("__pycache__"))


def test_the_wheel_is_complete_and_serves_every_python(wheel: Path) -> None:
    assert "-cp310-abi3-" in wheel.name
    content = zipfile.ZipFile(wheel)
    names = set(content.namelist())
    assert names >= SOURCES
    # Linked to the Python that built it, it would load in no other version.
    assert b"libpython" not in content.read("hbo_plugin/_sampler.abi3.so")
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not any(name.startswith(REPOSITORY_ONLY) for name in names)


def test_both_wheels_hold_the_same_files(released: Path, built: Path) -> None:
    assert set(zipfile.ZipFile(released).namelist()) == set(zipfile.ZipFile(built).namelist())


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is Linux's")
def test_the_released_wheel_runs_on_an_older_glibc(released: Path) -> None:
    """`make dist` has auditwheel agree."""
    assert "-manylinux_2_28_" in released.name


def test_the_page_on_pypi_has_no_dead_link(released: Path) -> None:
    """PyPI has no other page of ours that a relative link could lead to."""
    content = zipfile.ZipFile(released)
    (metadata,) = (name for name in content.namelist() if name.endswith(".dist-info/METADATA"))
    assert PAGES["index.md"] in content.read(metadata).decode()
    assert re.findall(r"\]\((?!https://).*?\)|^\[.*?\]:.*|<(?:a|img)\b.*?>", PAGES["index.md"], re.MULTILINE) == []


def test_the_page_on_pypi_names_every_page_and_shows_configs_of_the_readme() -> None:
    named = re.findall(r"^\| `([\w-]+\.md)` \|", PAGES["index.md"], re.MULTILINE)
    assert {"index.md", *named} == set(PAGES)
    configs = re.findall(r"^```yaml\n(.*?)```$", PAGES["index.md"], re.DOTALL | re.MULTILINE)
    assert len(configs) == 2
    for config in configs:
        assert config[config.index("hbo:\n") :].rstrip() in (ROOT / "README.md").read_text()


def test_a_checkout_finds_its_pages_as_an_installation_does() -> None:
    folder = importlib.resources.files("hbo_plugin") / "docs"
    assert {page: (folder / page).read_text() for page in PAGES} == PAGES


def test_a_clean_environment_can_use_each_wheel(wheel: Path, pins: Path, tmp_path: Path) -> None:
    """NumPy, pydantic and rich are enough for the sampler: no torch, no Axolotl."""
    python = make_venv(tmp_path / "venv")
    run(BIN / "uv", "pip", "install", "--python", python, "--constraint", pins, wheel, cwd=tmp_path)
    program = (
        "import importlib.resources, importlib.util, json, hbo_plugin; from hbo_plugin import MixtureSampler;"
        "rows = MixtureSampler([5, 3], [1.0, 1.0], seed=1).fill(0, 8).tolist();"
        "absent = [name for name in ('torch', 'axolotl') if importlib.util.find_spec(name) is None];"
        "folder = importlib.resources.files('hbo_plugin') / 'docs';"
        "pages = {page.name: page.read_text() for page in folder.iterdir()};"
        "print(json.dumps([hbo_plugin.__file__, sorted(set(rows) - set(range(8))), absent, pages]))"
    )
    file, strange, absent, pages = json.loads(run(python, "-c", program, cwd=tmp_path))
    assert Path(file).is_relative_to(tmp_path)
    assert strange == []
    assert absent == ["torch", "axolotl"]
    assert pages == PAGES


@pytest.mark.axolotl
def test_it_joins_an_axolotl_environment_without_moving_a_pin(released: Path, pins: Path, tmp_path: Path) -> None:
    """A copy of this environment, so that ours is left alone."""
    python = make_venv(tmp_path / "venv")
    uv: list[str | Path] = [BIN / "uv", "pip"]
    run(*uv, "install", "--python", python, "--no-deps", "--requirements", pins, cwd=tmp_path)
    before = run(*uv, "freeze", "--python", python, cwd=tmp_path).splitlines()
    checked = check(python, tmp_path)
    run(*uv, "install", "--python", python, released, cwd=tmp_path)
    after = run(*uv, "freeze", "--python", python, cwd=tmp_path).splitlines()
    assert check(python, tmp_path) == checked
    assert [line for line in after if not line.startswith("axolotl-hbo")] == before
    assert len(after) == len(before) + 1
    entry = "from importlib.metadata import entry_points; print(entry_points(group='axolotl.plugins')['hbo'].value)"
    assert run(python, "-c", entry, cwd=tmp_path).strip() == "hbo_plugin:HBOPlugin"
    shutil.rmtree(tmp_path / "venv")  # gigabytes


def check(python: Path, folder: Path) -> list[str]:
    """What `pip check` finds wrong; the count of packages in its first lines does not matter here."""
    command: list[str | Path] = [BIN / "uv", "pip", "check", "--python", python]
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True, env=environment())
    return [line for line in done.stderr.splitlines() if "Checked" not in line]
