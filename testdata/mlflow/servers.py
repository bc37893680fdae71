"""MLflow's own server and ours, asked the same. What differs by nature is made alike: ids
are known by the names of what has them, times are left out."""
import contextlib, json, os, random, re, signal, subprocess, sys, tempfile
import requests

HERE = os.path.dirname(os.path.abspath(__file__))
# What no two servers answer alike, and fields that came with a newer MLflow than the schema's.
IGNORED = {"creation_time", "last_update_time", "creation_timestamp", "last_updated_timestamp", "artifact_uri",
           "artifact_location", "next_page_token", "workspace", "message", "root_uri", "last_updated_timestamp_ms",
           "creation_timestamp_ms", "start_time", "user_id", "trace_location", "stack_trace", "deployment_job_state",
           "run_uuid", "metric_value", "last_registered", "_mlflow_experiment_ids"}
UNORDERED = {"tags", "params", "metrics", "metric_objs", "aliases", "latest_versions", "dataset_inputs", "model_inputs",
             "model_outputs"}


class Server:
    """One of the two; it knows the ids of what was made by the names that both share."""
    def __init__(self, base, token=""):
        self.base, self.token, self.ids, self.names = base, token, {}, {}
        self.session = requests.Session()
        # No idle connection, which the other side may close as the next request is sent.
        self.session.headers.update({"Authorization": "Bearer " + token, "Connection": "close"})

    def learn(self, name, id):
        self.ids[name], self.names[str(id)] = str(id), name

    def fill(self, value):
        if isinstance(value, dict):
            return {k: self.fill(v) for k, v in value.items()}
        if isinstance(value, list):
            return [self.fill(v) for v in value]
        if isinstance(value, str) and "$" in value[:7]: # an id, or what begins with one
            return "/".join(self.ids.get(part, part) for part in value.split("/"))
        return value

    def call(self, method, name, body):
        body = self.fill(body)
        name = "/".join(self.ids.get(part, part) for part in name.split("/"))
        if method == "GET":
            how = {"params": body}
        else:
            how = {"data": body.encode()} if isinstance(body, str) else {"json": body}
        files = name.startswith("mlflow-artifacts/")
        address = self.base + ("/api/2.0/" if files else "/api/2.0/mlflow/") + name
        r = self.session.request(method, address, timeout=120, **how)
        if method == "GET" and files and r.status_code == 200 and body is None:
            return 200, {"text": r.content.decode()}
        try:
            return r.status_code, r.json()
        except ValueError:
            return r.status_code, {"text": r.text[:200]}

    def plain(self, v, key=""):
        """An answer without what may differ: ids by their names, no times, no empty fields."""
        if isinstance(v, dict):
            out = {k: self.plain(x, k) for k, x in v.items() if k not in IGNORED}
            if v.get("next_page_token"):
                out["more"] = True
            return {k: x for k, x in out.items() if x not in ("", [], {}, None, 0)}
        if isinstance(v, list):
            out = [self.plain(x) for x in v]
            return sorted(out, key=lambda x: json.dumps(x, sort_keys=True)) if key in UNORDERED else out
        if isinstance(v, float) and abs(v) < 1e15 and v == int(v):
            return int(v)
        if isinstance(v, float) and (v != v or abs(v) >= 1.7976931348623157e308):
            return "NaN" if v != v else "Infinity" if v > 0 else "-Infinity"
        if isinstance(v, str) and v.startswith("[{"):
            v = json.dumps(json.loads(v), sort_keys=True)
        if isinstance(v, str):
            for id, name in self.names.items():
                if len(id) > 8:
                    v = v.replace(id, name)
            return v if key != "experiment_id" else self.names.get(v, v)
        return v


def lines(process):
    """What a process prints first: one line, or a JSON object."""
    text = process.stdout.readline()
    while text.startswith("{") and "}" not in text:
        text += process.stdout.readline()
    return text


@contextlib.contextmanager
def mlflow():
    process = subprocess.Popen([sys.executable, "-W", "ignore", os.path.join(HERE, "server.py")], text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        base = lines(process).strip()
        assert base, "MLflow's server does not start"
        yield base
    finally:
        process.stdin.close()
        process.wait()


@contextlib.contextmanager
def pair(theirs):
    """Our server on a history of its own, and MLflow's begun anew."""
    requests.post(theirs + "/anew", timeout=120).raise_for_status()
    with tempfile.TemporaryDirectory() as home:
        process = subprocess.Popen(["aml-train", "history", "serve", "--port", "0", "--json"], text=True,
                                   stdout=subprocess.PIPE, env={**os.environ, "AML_TRAIN_HOME": home + "/h"})
        try:
            said = json.loads(lines(process))
            yield Server(said["url"], said["token"]), Server(theirs)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait()


class Disagreements(list):
    def __init__(self, seed):
        self.seed = seed

    def note(self, what, ours, theirs):
        short = lambda x: re.sub(r"(?s)((?:\\u00..)|.)\1{20,}", r"\1...", str(x))[:900]
        self.append(f"{short(what)}\n  ours   {short(ours)}\n  theirs {short(theirs)}")


def seeds():
    """The seeds to try: AML_TRAIN_CASES of them, from AML_TRAIN_SEED on."""
    first = int(os.environ.get("AML_TRAIN_SEED") or 0)
    return range(first, first + int(os.environ.get("AML_TRAIN_CASES") or 2))


def main(compare):
    """Has compare(ours, theirs, random, disagreements) make calls, a seed at a time, and
    return how many."""
    bad = calls = 0
    with mlflow() as base:
        for seed in seeds():
            found = Disagreements(seed)
            with pair(base) as (ours, theirs):
                calls += compare(ours, theirs, random.Random(seed), found)
            if found:
                bad += 1
                print(f"seed {seed}: {len(found)} differ")
                print("\n".join(found[:8]), flush=True)
    if bad:
        raise SystemExit(f"{bad} of {len(seeds())} seeds differ")
    print(calls, "calls agree")
