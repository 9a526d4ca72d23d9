"""Lets PyPI's Linux wheel of PyTorch load on a machine without a GPU and without the CUDA packages it depends on.

The wheel's shared libraries name about twenty CUDA libraries, which the loader must find, and some thousands of functions
in them, which it must resolve. This writes a small library for each one that is missing, with those functions in it. Each
ends the process when called, and on a CPU none is called. Not for a machine with a GPU: install torch as usual there.

usage: python link_stubs.py        (with the python of the environment that torch is installed in)
"""
import re
import subprocess
import sysconfig
import tempfile
from collections import defaultdict
from pathlib import Path

SITE = Path(sysconfig.get_paths()["purelib"])
TORCH = SITE / "torch" / "lib"
CUDA = SITE / "nvidia" / "cu13" / "lib"  # on torch's library path ($ORIGIN/../../nvidia/cu13/lib)
CUDA_LIBRARY = re.compile(r"lib(cu|nv|nccl)")
CUDA_SYMBOL = re.compile(r"(cu|nv|p?nccl)[A-Z_a-z]*")


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def needed(library):
    """Names of the CUDA libraries it is linked to."""
    names = re.findall(r"\(NEEDED\).*\[(.+)\]", run("readelf", "-dW", library))
    return {name for name in names if CUDA_LIBRARY.match(name)}


def version_owners(library):
    """Of the symbol versions it asks for: which library each belongs to."""
    owners, file = {}, None
    for line in run("readelf", "-VW", library).splitlines():
        if found := re.search(r"Version: \d+\s+File: (\S+)", line):
            file = found[1]
        elif file and (found := re.search(r"Name: (\S+)\s+Flags:.*Version: \d+", line)):
            owners[found[1]] = file
    return owners


def symbols(library, which):
    """(name, version or None) of the dynamic symbols that are `defined` or `undefined`."""
    for line in run("nm", "-D", f"--{which}-only", library).splitlines():
        name, _, version = line.split()[-1].replace("@@", "@").partition("@")
        yield name, version or None


def main():
    torch = sorted(TORCH.glob("*.so*"))
    present = {path.name for path in torch} | {path.name for path in CUDA.iterdir()}
    missing = set().union(*map(needed, torch)) - present
    known = {name for path in [*torch, *CUDA.glob("*.so*")] for name, _ in symbols(path, "defined")}

    versioned, plain = defaultdict(set), set()
    for path in torch:
        owners = version_owners(path)
        for name, version in symbols(path, "undefined"):
            if version in owners:
                versioned[owners[version], version].add(name)
            elif version is None and name not in known and CUDA_SYMBOL.match(name):
                plain.add(name)

    for library in sorted(missing):
        versions = {version: names for (owner, version), names in versioned.items() if owner == library}
        # Which library an unversioned symbol is meant to come from is written nowhere. The loader takes the first that has
        # it, so every library without versions gets all of them.
        names = sorted(set().union(*versions.values()) if versions else plain)
        with tempfile.TemporaryDirectory() as folder:
            source, script = Path(folder, "stub.c"), Path(folder, "stub.map")
            source.write_text("".join(f"void {name}(void) {{ __builtin_trap(); }}\n" for name in names))
            command = ["gcc", "-w", "-shared", "-fPIC", f"-Wl,-soname,{library}", "-o", CUDA / library, source]
            if versions:
                script.write_text("".join(f"{v} {{ global: {'; '.join(sorted(n))}; }};\n" for v, n in versions.items()))
                command.append(f"-Wl,--version-script={script}")
            run(*command)
        print(f"{library}: {len(names)} symbols")


if __name__ == "__main__":
    main()
