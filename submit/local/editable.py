# What of this interpreter's environment leads into a repository, as JSON: the folders on
# its path, the modules that a finder or a link takes from there, and the names of what is
# installed from there so that an edit counts at once (pip install -e). Given names, it
# says which of them are still imported from the repository.
import importlib.metadata
import importlib.util
import json
import os
import sys
import urllib.parse
import urllib.request

root = os.path.realpath(sys.argv[1])


def below(path, folder):
    return path == folder or path.startswith(folder + os.sep)


def inside(path):  # an environment that lies in the repository is no part of it
    path = os.path.realpath(path)
    return below(path, root) and not below(path, os.path.realpath(sys.prefix))


def places(spec):
    return [spec.origin] if spec.origin else list(spec.submodule_search_locations or [])


if len(sys.argv) > 2:
    found = []
    for name in sys.argv[2:]:
        try:
            spec = importlib.util.find_spec(name)
        except Exception:
            continue
        first = next(iter(places(spec)), None) if spec else None
        if first and inside(first):
            found.append(name)
    print(json.dumps(found))
    sys.exit()

paths = [p for p in sys.path[1:] if p and inside(p) and os.path.isdir(p)]
modules = {}
for p in [p for p in paths if "__editable__" in os.path.basename(p)]:  # setuptools' strict mode: a folder of links
    paths.remove(p)
    for e in os.scandir(p):
        first = os.path.realpath(os.path.join(e.path, "__init__.py") if e.is_dir() else e.path)
        if os.path.exists(first):
            modules[e.name.removesuffix(".py")] = os.path.dirname(first) if e.is_dir() else first
for name, module in list(sys.modules.items()):
    if name.startswith("__editable__"):  # setuptools
        modules.update(getattr(module, "MAPPING", {}))
        modules.update((n, p[0]) for n, p in getattr(module, "NAMESPACES", {}).items() if p)
redirector = sys.modules.get("editables.redirector")  # hatchling, pdm
if redirector:
    modules.update(redirector.RedirectingFinder._redirections)
for p in sys.path[1:]:  # flit install --symlink
    if os.path.isdir(p):
        for e in os.scandir(p):
            if e.is_symlink() and inside(e.path):
                modules[e.name.removesuffix(".py")] = os.path.realpath(e.path)
names = set()
for d in importlib.metadata.distributions():
    text = d.read_text("direct_url.json")
    if not text:
        continue
    direct = json.loads(text)
    where = urllib.request.url2pathname(urllib.parse.urlparse(direct.get("url", "")).path)
    if direct.get("dir_info", {}).get("editable") and inside(where):
        names.update((d.read_text("top_level.txt") or d.metadata["Name"].replace("-", "_")).split())
print(json.dumps({
    "paths": [os.path.realpath(p) for p in paths],
    "modules": {n: os.path.realpath(p) for n, p in modules.items() if inside(p)},
    "names": sorted(names),
}))
