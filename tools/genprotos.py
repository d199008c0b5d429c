"""Compile the contracts under protos/ into gen/: Python modules, type stubs and one descriptor image.

Run it after editing a contract. A stamp makes a second run free.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import sysconfig
import tempfile
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GEN = ROOT / "gen"
TOOLS = ("grpcio-tools", "mypy-protobuf", "protovalidate", "googleapis-common-protos")


def _plugin(name: str) -> str:
    """The protoc option that names a plugin found beside this interpreter, else on PATH."""
    where = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
    found = shutil.which(name, path=where)
    if found is None:
        raise SystemExit(f"{name} is missing: install the development requirements (make setup)")
    return f"--plugin={name}={found}"


def _protoc(protos: Path, scratch: Path, *args: str) -> None:
    import google.api.annotations_pb2 as annotations
    from google.protobuf import descriptor_pb2
    from grpc_tools import protoc  # type: ignore[import-untyped]  # ships no stubs
    from protovalidate._gen.buf.validate import validate_pb

    # The protovalidate wheel carries buf/validate/validate.proto only as a descriptor, so protoc
    # gets it as a descriptor set instead of a source; nothing is vendored or downloaded.
    rules = scratch / "validate.binpb"
    if not rules.exists():
        raw = validate_pb._DESC.proto.to_binary()
        file = descriptor_pb2.FileDescriptorProto.FromString(raw)
        rules.write_bytes(descriptor_pb2.FileDescriptorSet(file=[file]).SerializeToString())
    code = protoc.main(
        [
            "protoc",
            f"-I{protos}",
            f"-I{Path(annotations.__file__).parents[2]}",  # google/api, google/rpc
            f"-I{Path(protoc.__file__).parent / '_proto'}",  # google/protobuf
            f"--descriptor_set_in={rules}",
            *args,
        ]
    )
    if code != 0:
        raise SystemExit("protoc failed; its messages are above")


def _names(protos: Path) -> list[str]:
    return [p.relative_to(protos).as_posix() for p in sorted(protos.rglob("*.proto"))]


def image(protos: Path, out: Path) -> None:
    """Write the descriptor image that `buf lint` and `buf breaking` read."""
    with tempfile.TemporaryDirectory() as tmp:
        _protoc(protos, Path(tmp), "--include_imports", "--include_source_info", f"-o{out}", *_names(protos))


def _digest(protos: Path) -> str:
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for tool in TOOLS:
        digest.update(f"{tool}={version(tool)}\0".encode())
    for name in _names(protos):
        digest.update(name.encode() + b"\0" + (protos / name).read_bytes())
    return digest.hexdigest()


def is_current(protos: Path = ROOT / "protos") -> bool:
    """Whether gen/ was made from the contracts as they are now."""
    stamp = GEN / ".stamp"
    return stamp.is_file() and stamp.read_text() == _digest(protos)


def generate(protos: Path = ROOT / "protos", *, force: bool = False) -> bool:
    """Fill gen/ and return True, or return False when it is up to date."""
    if not force and is_current(protos):
        return False
    with tempfile.TemporaryDirectory(dir=ROOT, prefix=".gen-") as tmp:
        scratch, out = Path(tmp), Path(tmp, "gen")
        out.mkdir()
        names = _names(protos)
        _protoc(
            protos,
            scratch,
            _plugin("protoc-gen-mypy"),
            f"--python_out={out}",
            f"--mypy_out=quiet:{out}",
            *names,
            "buf/validate/validate.proto",
        )
        _protoc(
            protos,
            scratch,
            _plugin("protoc-gen-mypy_grpc"),
            f"--grpc_python_out={out}",
            f"--mypy_grpc_out=quiet:{out}",
            *names,
        )
        image(protos, out / "reach.binpb")
        (out / "reach" / "py.typed").touch()
        (out / ".stamp").write_text(_digest(protos))
        shutil.rmtree(GEN, ignore_errors=True)
        out.rename(GEN)
    return True


if __name__ == "__main__":
    cli = argparse.ArgumentParser(description=__doc__)
    cli.add_argument("--protos", type=Path, default=ROOT / "protos")
    cli.add_argument("--force", action="store_true")
    cli.add_argument("--image", type=Path, help="write only the descriptor image to this file")
    options = cli.parse_args()
    if options.image:
        image(options.protos, options.image)
    else:
        print("generated" if generate(options.protos, force=options.force) else "gen/ is up to date")
