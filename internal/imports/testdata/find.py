# Answers for each query where Python finds a module: from the folder that is named, else
# from any folder of the repository, "" where it does not.
import importlib.machinery, json, os, sys


def find(name, folders):
    where = folders
    for i, part in enumerate(name.split(".")):
        spec = importlib.machinery.PathFinder.find_spec(part, where)
        if spec is None:
            return ""
        where = spec.submodule_search_locations
        where = getattr(where, "_path", where)  # of a namespace
        at = spec.origin
        if where is not None:
            at = next(iter(where))
        elif i + 1 < len(name.split(".")):
            return ""
    return at


def python(top):
    for _, _, files in os.walk(top):
        if any(f.endswith((".py", ".so")) for f in files):
            return True
    return False


answers = []
for q in json.load(sys.stdin):
    sys.path_importer_cache.clear()
    folders = [q["Root"]] if q["Root"] else q["Folders"]
    at = find(q["Name"], [os.path.join(q["Dir"], f) for f in folders])
    if at and os.path.isdir(at) and not python(at):
        at = ""  # a folder of data
    answers.append(os.path.relpath(at, q["Dir"]) if at else "")
json.dump(answers, sys.stdout)
