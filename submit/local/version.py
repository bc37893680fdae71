# Says in JSON what an interpreter is and what it would import: its packages by version and
# by what their installation recorded of their files, and the folders that it imports from as
# they are.
import sys

sys.path[:] = [p for p in sys.path if p]
import hashlib
import importlib.metadata
import json
import os
import site
import sysconfig
import urllib.parse
import urllib.request

kept = {os.path.realpath(p) for p in (
    sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix, site.getusersitepackages(),
    *sysconfig.get_paths().values(), "/usr/lib/python3", "/usr/local/lib")}


def installed(path):
    path = os.path.realpath(path)
    return any(path == k or path.startswith(k.rstrip(os.sep) + os.sep) for k in kept)


packages, folders = [], {}
for path in sys.path:
    if os.path.isdir(path) and not installed(path):
        folders[os.path.realpath(path)] = "sys.path"
for d in importlib.metadata.distributions():
    name, record = d.metadata["Name"] or "", d.read_text("RECORD") or ""
    try:
        url = json.loads(d.read_text("direct_url.json") or "{}")
    except ValueError:
        url = {}
    if url.get("dir_info", {}).get("editable"):
        where = urllib.request.url2pathname(urllib.parse.urlsplit(url.get("url", "")).path)
        folders[os.path.realpath(where)] = name
    elif not installed(str(d.locate_file(""))):
        folders[os.path.realpath(str(d.locate_file("")))] = name
    packages.append([name, d.version, hashlib.sha256(record.encode()).hexdigest() if record else ""])
try:
    conda = sorted(f for f in os.listdir(os.path.join(sys.prefix, "conda-meta")) if f.endswith(".json"))
except OSError:
    conda = []
print(json.dumps({"python": sys.version, "platform": sysconfig.get_platform(), "packages": sorted(packages),
                  "conda": conda, "folders": folders}))
