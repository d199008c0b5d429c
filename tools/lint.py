"""Checks that are not a linter's own command: contracts on the wire, files as data, links, no addresses.

Every check runs; the exit status is 1 when one found something.
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import kubernetes_validate
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parent.parent
IMAGE = "gen/reach.binpb"
OBSERVABILITY = "deploy/observability"
OVERLAYS = ("overlays/sandbox", "overlays/production")
KUBERNETES = "1.32"
"""Whose schemas the manifests are held against: the oldest release that is still looked after."""
PROGRAMS = Path(sysconfig.get_path("scripts"))

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^(```|~~~).*?^\1", re.DOTALL | re.MULTILINE)
HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)
# A place on somebody's machine. What a container or a manual names (/etc, /run, /usr) is no such place.
MACHINE_PATH = re.compile(r"(?<![\w/.])/(?:home/\w+|Users/\w+|root/|work/)")


class Skipped(Exception):
    """A check that needs a program which is no Python package, and is not on this machine. CI's has them all."""


def _run(program: str | Path, *arguments: str) -> list[str]:
    """Run a program; its output is the list of findings."""
    done = subprocess.run([program, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return []
    return (done.stdout + done.stderr).strip().splitlines() or [f"{program} exited {done.returncode}"]


def _tool(name: str, *arguments: str) -> list[str]:
    """Run one of the environment's programs."""
    return _run(PROGRAMS / name, *arguments)


def _machine_tool(name: str, package: str) -> str:
    """Where one of the machine's own programs is. Raises ``Skipped``, with the package that has it."""
    found = shutil.which(name)
    if found is None:
        raise Skipped(f"{name} is not installed here ({package})")
    return found


def _git(*arguments: str) -> bytes | None:
    try:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None  # not a checkout: an unpacked archive has no history to compare with


def tracked() -> list[Path]:
    """The files of the repository, new ones that are not ignored included."""
    listing = _git("ls-files", "-z", "--cached", "--others", "--exclude-standard")
    if listing is None:
        raise SystemExit("lint needs a git checkout: it looks at tracked files only")
    names = [name for name in listing.decode().split("\0") if name]
    return [ROOT / name for name in names if (ROOT / name).is_file()]


def _texts() -> Iterator[tuple[Path, str]]:
    for path in tracked():
        try:
            yield path, path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a picture, say


def protos_formatted() -> list[str]:
    """The contracts are in buf's format."""
    return _tool("buf", "format", "--diff", "--exit-code", "protos")


def protos_clean() -> list[str]:
    """The contracts pass buf's STANDARD and COMMENTS rules."""
    # Only our own files of the image; Google's would add a hundred findings.
    return _tool("buf", "lint", IMAGE, "--path", "reach")


def protos_compatible() -> list[str]:
    """Nothing that the last tag's clients rely on was broken."""
    tag = _git("describe", "--tags", "--abbrev=0")
    if tag is None:
        return []
    archive = _git("archive", tag.decode().strip(), "protos")
    if archive is None:
        return []
    with tempfile.TemporaryDirectory() as old:
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            tar.extractall(old, filter="data")
        image = f"{old}/old.binpb"
        subprocess.run(
            [sys.executable, ROOT / "tools/genprotos.py", "--protos", f"{old}/protos", "--image", image],
            check=True,
        )
        return _tool("buf", "breaking", IMAGE, "--against", image, "--path", "reach")


def compose_valid() -> list[str]:
    """The Compose files are what the Compose specification says."""
    files = [
        str(p.relative_to(ROOT)) for p in (ROOT / "docker-compose.yml", ROOT / "tests/support/compose.yml")
    ]
    return _tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", *files)


def workflow_valid() -> list[str]:
    """The CI workflow is what its schema says."""
    return _tool(
        "check-jsonschema", "--builtin-schema", "vendor.github-workflows", ".github/workflows/ci.yml"
    )


def dockerfile_clean() -> list[str]:
    """The Dockerfile passes hadolint."""
    return _tool("hadolint", "Dockerfile")


def alerts_hold() -> list[str]:
    """Prometheus takes its configuration and its rules, and each alert fires where its tests say."""
    promtool = _machine_tool("promtool", "Debian: prometheus")
    return [
        *_run(promtool, "check", "config", f"{OBSERVABILITY}/prometheus.yml"),
        *_run(promtool, "check", "rules", f"{OBSERVABILITY}/alerts.yml"),
        *_run(promtool, "test", "rules", f"{OBSERVABILITY}/alerts.test.yml"),
    ]


def built(overlay: str) -> str:
    """The YAML documents that Kustomize makes of *overlay*, a directory under deploy/kubernetes.

    Raises ``Skipped`` without kubectl, ``ValueError`` with Kustomize's words where it makes nothing of it.
    """
    kubectl = _machine_tool("kubectl", "it has Kustomize in it")
    command = [kubectl, "kustomize", f"deploy/kubernetes/{overlay}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ValueError(done.stderr.strip())
    return done.stdout


def manifests_valid() -> list[str]:
    """Kustomize builds every overlay, and each object is what Kubernetes' own schema says, no field more."""
    findings = []
    for overlay in ("base", *OVERLAYS):
        try:
            text = built(overlay)
        except ValueError as error:
            findings.append(f"{overlay}: {error}")
            continue
        for one in YAML(typ="safe").load_all(text):
            try:
                kubernetes_validate.validate(one, KUBERNETES, strict=True)
            except kubernetes_validate.ValidationError as error:
                findings.append(f"{overlay}: {one['kind']} {one['metadata']['name']}: {error.message}")
    return findings


def requirements_anonymous() -> list[str]:
    """Requirements say what, never from where."""
    files = [*ROOT.glob("requirements*"), *ROOT.glob("tools/uv.*")]
    return [
        f"{path.relative_to(ROOT)}:{number}: names an address"
        for path in files
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if "://" in line
    ]


def paths_portable() -> list[str]:
    """No file names a place on somebody's machine."""
    return [
        f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, found.start()) + 1}: names {found.group()}"
        for path, text in _texts()
        if path != Path(__file__)
        for found in MACHINE_PATH.finditer(text)
    ]


def anchors(text: str) -> set[str]:
    """The fragments a Markdown page offers, as forges make them from its headings."""
    headings = HEADING.findall(FENCE.sub("", text))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links_resolve() -> list[str]:
    """Every relative link of every page leads to a file, and its fragment to a heading."""
    broken = []
    for page, text in _texts():
        if page.suffix != ".md":
            continue
        for target in LINK.findall(FENCE.sub("", text)):
            if "://" in target or target.startswith("mailto:"):
                continue
            name, _, fragment = target.partition("#")
            file = (page.parent / name).resolve() if name else page
            wrong_fragment = (
                fragment
                and file.suffix == ".md"
                and file.is_file()
                and fragment not in anchors(file.read_text(encoding="utf-8"))
            )
            if not file.exists() or wrong_fragment:
                broken.append(f"{page.relative_to(ROOT)}: {target} leads nowhere")
    return broken


CHECKS: tuple[Callable[[], list[str]], ...] = (
    protos_formatted,
    protos_clean,
    protos_compatible,
    compose_valid,
    workflow_valid,
    dockerfile_clean,
    alerts_hold,
    manifests_valid,
    requirements_anonymous,
    paths_portable,
    links_resolve,
)


def main() -> int:
    """Run all checks and say what they found."""
    code = 0
    for check in CHECKS:
        try:
            findings = check()
        except Skipped as missing:
            print(f"skip {check.__doc__} {missing}")
            continue
        print(f"{'FAIL' if findings else 'ok':5}{check.__doc__}")
        for finding in findings:
            print(f"     {finding}")
            code = 1
    return code


if __name__ == "__main__":
    sys.exit(main())
