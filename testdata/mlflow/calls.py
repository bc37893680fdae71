"""MLflow's own server and ours answer 500 random requests alike, those that are refused among
them, and have the same in the end."""
import json
import servers

TOTAL = 500
WHERE = ["", "metrics.a > 0", "metrics.loss != 1", "params.a = 'v1'", "tags.b = 'v2'",
         "attributes.status = 'FINISHED'", "run_name LIKE 'r%'", "params.a LIKE 'v%' AND metrics.a >= 0",
         "tags.none IS NULL", "dataset.name = 'd1'", "datasets.context = 'train' AND metrics.a > 0",
         "dataset.digest LIKE '1%'", "metrics.a", "foo.bar = 1", "params.a = 1", "metrics.a = 'x'"]
MODEL = ('{"artifact_path": "m", "utc_time_created": "2026-01-01 00:00:00", "run_id": "x", "model_uuid": "u",'
         ' "flavors": {}}')
POST, GET, PATCH, DELETE = "POST", "GET", "PATCH", "DELETE"


def table(rnd, runs, experiments, models):
    """The calls that there are, each of which makes a request: method, address, body."""
    pick = rnd.choice
    key = lambda: pick(["a", "b c", "d/e", "ü:x", "loss", "k" * 250, "k" * 251, "../x", "a//b", "/a", "a/", "bad*", ".",
                        "", "é" * 250, "mlflow.note.content"] + ["a", "b", "c"] * 4)
    text = lambda: pick(["", "x", "é" * 10, "y" * 6001, "ü" * 8001, "it's", "3"] + ["v1", "v2"] * 2)
    number = lambda: pick([0, 1, -2.5, "NaN", "Infinity", "-Infinity", 1e300, "1", True] + [0.5, 2] * 3)
    metric = lambda: {"key": key(), "value": number(), "timestamp": pick([1, 2, 3, "4", -1]),
                      "step": pick([0, 1, 2, -1, "3"])}
    pair = lambda: {"key": key(), "value": text()}
    some = lambda f, most=3: [f() for _ in range(rnd.randint(0, most))]
    run = lambda: pick(runs[-12:] + ["$none"])
    made = lambda: pick(runs[1:])
    experiment = lambda: pick(experiments[-6:])
    name = lambda *more: pick(["m1", "m2", *more])
    version = lambda: str(rnd.randint(1, 3))
    artifact = lambda: made() + "@/" + pick(["x.txt", "d/y.txt", "d/", "d", "ü b.txt", "..%2Fz", "d/%2E%2E/z", "none"])
    view = lambda: pick(["ACTIVE_ONLY", "DELETED_ONLY", "ALL"])

    def dataset():
        return {"dataset": {"name": pick(["d1", "d2"]), "digest": "1", "source_type": "local", "source": "x"},
                "tags": [{"key": "mlflow.data.context", "value": pick(["train", "eval"])}]}

    def of_model(method, end, **body):
        model = pick(models)
        return method, "logged-models/" + model + end, {"model_id": model, **body}

    return {
        "create experiment": lambda: (POST, "experiments/create", {
            "name": pick([f"e{rnd.randint(0, 9)}", "", "x" * 500, "x" * 501]), "tags": some(pair)}),
        "rename experiment": lambda: (POST, "experiments/update", {
            "experiment_id": experiment(), "new_name": f"e{rnd.randint(0, 9)}"}),
        "delete experiment": lambda: (POST, "experiments/delete", {"experiment_id": pick(experiments)}),
        "restore experiment": lambda: (POST, "experiments/restore", {"experiment_id": pick(experiments)}),
        "tag experiment": lambda: (POST, "experiments/set-experiment-tag", {"experiment_id": experiment(), **pair()}),
        "untag experiment": lambda: (POST, "experiments/delete-experiment-tag", {
            "experiment_id": experiment(), "key": pick(["a", "b", "c"])}),
        "get experiment": lambda: (GET, "experiments/get", {"experiment_id": experiment()}),
        "experiment by name": lambda: (GET, "experiments/get-by-name", {"experiment_name": f"e{rnd.randint(0, 9)}"}),
        "search experiments": lambda: (POST, "experiments/search", {
            "filter": pick(["", "name LIKE 'e%'", "name = 'e1'", "tags.a = 'v1'", "name > 'e'", "creation_time > 0",
                            "bad = 1"]),
            "order_by": ["name"], "view_type": view(), "max_results": pick([0, 1, 2, 100, 50001])}),
        "create run": lambda: (POST, "runs/create", {
            "experiment_id": experiment(), "run_name": pick(["r1", "r2", "r3"]),
            "start_time": rnd.randint(1000, 9999999), "tags": some(pair, 2)}),
        "names that differ": lambda: (POST, "runs/create", {
            "experiment_id": experiment(), "run_name": "r1", "start_time": rnd.randint(1000, 9999999),
            "tags": [{"key": "mlflow.runName", "value": pick(["r1", "r2"])}]}),
        "update run": lambda: (POST, "runs/update", {
            "run_id": run(), "status": pick(["FINISHED", "FAILED", "KILLED", "RUNNING"]), "end_time": 5000,
            "run_name": pick(["r1", "", "r9"])}),
        "delete run": lambda: (POST, "runs/delete", {"run_id": run()}),
        "restore run": lambda: (POST, "runs/restore", {"run_id": run()}),
        "log metric": lambda: (POST, "runs/log-metric", {"run_id": run(), **metric()}),
        "log param": lambda: (POST, "runs/log-parameter", {"run_id": run(), **pair()}),
        "set tag": lambda: (POST, "runs/set-tag", {"run_id": run(), **pair()}),
        "delete tag": lambda: (POST, "runs/delete-tag", {"run_id": run(), "key": pick(["a", "b", "c"])}),
        "log batch": lambda: (POST, "runs/log-batch", {
            "run_id": run(), "metrics": some(metric), "params": some(pair, 2), "tags": some(pair, 2)}),
        "log inputs": lambda: (POST, "runs/log-inputs", {"run_id": run(), "datasets": [dataset()]}),
        "get run": lambda: (GET, "runs/get", {"run_id": run()}),
        "history": lambda: (GET, "metrics/get-history", {"run_id": run(), "metric_key": pick(["a", "b", "loss"])}),
        "search": lambda: (POST, "runs/search", {
            "experiment_ids": rnd.sample(experiments, min(2, len(experiments))), "filter": pick(WHERE),
            "order_by": pick([[], ["metrics.a DESC", "start_time"], ["params.a"], ["x y z"]]),
            "run_view_type": view(), "max_results": pick([0, 1, 5, 100, 50001])}),
        "list artifacts": lambda: (GET, "artifacts/list", {"run_id": run(), "path": pick(["x", "x/", "../x"])}),
        "log model": lambda: (POST, "runs/log-model", {"run_id": run(), "model_json": pick(["{}", "x", MODEL])}),
        "register": lambda: (POST, "registered-models/create", {
            "name": name("m3", "a/b", ""), "description": text()[:100]}),
        "get registered": lambda: (GET, "registered-models/get", {"name": name("m3")}),
        "rename registered": lambda: (POST, "registered-models/rename", {
            "name": pick(["m2", "m4"]), "new_name": name("m4", "a/b", "")}),
        "describe registered": lambda: (PATCH, "registered-models/update", {
            "name": name("none"), "description": text()[:5000]}),
        "delete registered": lambda: (DELETE, "registered-models/delete", {"name": pick(["m3", "m4", "none"])}),
        "tag registered": lambda: (POST, "registered-models/set-tag", {"name": name("none"), **pair()}),
        "untag registered": lambda: (DELETE, "registered-models/delete-tag", {
            "name": name(), "key": pick(["a", "b", "c"])}),
        "search registered": lambda: (GET, "registered-models/search", {
            "filter": pick(["", "name = 'm1'", "name LIKE 'm%'", "name ILIKE 'M%'", "tags.a = 'v1'", "bad = 1"]),
            "max_results": pick([1, 100, 1001]), "order_by": pick([["name"], ["name DESC"], ["bad"]])}),
        "latest": lambda: (POST, "registered-models/get-latest-versions", {
            "name": name("none"), "stages": pick([[], ["Staging"], ["production", "None"], ["x"]])}),
        "alias": lambda: (POST, "registered-models/alias", {
            "name": name(), "alias": pick(["best", "v1", "latest", "a b"]), "version": version()}),
        "by alias": lambda: (GET, "registered-models/alias", {
            "name": name(), "alias": pick(["best", "latest", "none"])}),
        "delete alias": lambda: (DELETE, "registered-models/alias", {
            "name": name("none"), "alias": pick(["best", "a b", "none"])}),
        # Of a run that is not there, MLflow makes a version and ours does not.
        "version": lambda: (lambda r: (POST, "model-versions/create", {
            "name": name("m3"), "source": "runs:/" + r + "/model", "run_id": r}))(made()),
        "describe version": lambda: (PATCH, "model-versions/update", {
            "name": name(), "version": version(), "description": text()[:5000]}),
        "tag version": lambda: (POST, "model-versions/set-tag", {"name": name(), "version": version(), **pair()}),
        "untag version": lambda: (DELETE, "model-versions/delete-tag", {
            "name": name(), "version": version(), "key": pick(["a", "b", "c"])}),
        "stage": lambda: (POST, "model-versions/transition-stage", {
            "name": name(), "version": version(), "stage": pick(["Staging", "production", "None", "x"]),
            "archive_existing_versions": pick([True, False])}),
        "delete version": lambda: (DELETE, "model-versions/delete", {"name": "m3", "version": version()}),
        "get version": lambda: (GET, "model-versions/get", {
            "name": name("m3"), "version": str(rnd.randint(1, 4))}),
        "search versions": lambda: (GET, "model-versions/search", {
            "filter": pick(["name = 'm1'", "name LIKE 'm%'", "bad = 1"]), "order_by": ["name", "version_number"]}),
        "log a model": lambda: (POST, "logged-models", {
            "experiment_id": experiment(), "name": pick(["l1", "l2", "a/b", "a:b"]), "source_run_id": made(),
            "tags": some(pair, 2), "params": some(pair, 2)}),
        "get model": lambda: (GET, "logged-models/" + pick(models), None),
        "finish model": lambda: of_model(PATCH, "", status=pick([
            "LOGGED_MODEL_READY", "LOGGED_MODEL_UPLOAD_FAILED", 2])),
        "tag model": lambda: of_model(PATCH, "/tags", tags=some(pair, 2)),
        "params of model": lambda: of_model(POST, "/params", params=some(pair, 2)),
        "untag model": lambda: (DELETE, "logged-models/" + pick(models) + "/tags/" + pick(["a", "b", "none"]), None),
        "delete model": lambda: (DELETE, "logged-models/" + (models.pop() if len(models) > 1 else models[0]), None),
        "search models": lambda: (POST, "logged-models/search", {
            "experiment_ids": experiments[1:3],
            "filter": pick(["", "name = 'l1'", "name LIKE 'l%'", "params.a = 'v1'", "tags.a = 'v1'", "bad = 1"]),
            "max_results": pick([1, 50])}),
        "outputs": lambda: (POST, "runs/outputs", {
            "run_id": run(), "models": [{"model_id": pick(models), "step": pick([0, 1])}]}),
        "put artifact": lambda: ("PUT", "mlflow-artifacts/artifacts/" + artifact(), text()),
        "get artifact": lambda: (GET, "mlflow-artifacts/artifacts/" + artifact(), None),
        "delete artifact": lambda: (DELETE, "mlflow-artifacts/artifacts/" + artifact(), None),
        "artifacts of": lambda: (GET, "mlflow-artifacts/artifacts", {"path": artifact()}),
        "in parts": lambda: (POST, "mlflow-artifacts/mpu/create/" + artifact(), {"path": "x", "num_parts": 2}),
    }


OFTEN = ["create run"] * 3 + ["log a model", "put artifact", "register"] * 2 + ["log batch"] * 4 + \
    ["get run"] * 3 + ["search"] * 3 + ["version"] * 2


def compare(ours, theirs, rnd, differ):
    runs, experiments, models, registered = ["$none"], ["$noexperiment"], ["$nomodel"], ["m1", "m2", "m3", "m4"]
    for server in ours, theirs:
        server.ids.update({"$none": "0" * 32, "$noexperiment": "987654321", "$nomodel": "m-" + "0" * 32})
    made = {"m": (models, lambda x: x.get("model", {}).get("info", {}).get("model_id")),
            "e": (experiments, lambda x: x.get("experiment_id")),
            "r": (runs, lambda x: x.get("run", {}).get("info", {}).get("run_id"))}
    asked = 0

    def learn(answers):
        for kind, (known, get) in made.items():
            if get(answers[0][1]):
                known.append(f"${kind}{asked}")
                for server, answer in answers:
                    server.learn(known[-1], get(answer))
                    if kind == "r":
                        uri = answer["run"]["info"]["artifact_uri"]
                        server.ids[known[-1] + "@"] = uri.removeprefix("mlflow-artifacts:/").strip("/")

    def one(what, method, name, body):
        nonlocal asked
        asked += 1
        (code, answer), (their_code, their_answer) = (s.call(method, name, body) for s in (ours, theirs))
        if code == their_code == 200 and ("create" in name or name == "logged-models"):
            learn([(ours, answer), (theirs, their_answer)])
        mine, other = ours.plain(answer), theirs.plain(their_answer)
        # An error of MLflow's own code (500) or of its database (BAD_REQUEST) is a refusal of the request
        # here; what its server refuses before that code has a "detail".
        said = their_answer.get("error_code", "BAD_REQUEST") in ("BAD_REQUEST", answer.get("error_code"))
        same = code == their_code and (code == 200 or said) or their_code >= 500 and 400 <= code < 500
        same = same or what == "outputs" and "UNIQUE" in str(their_answer)  # the same again is no error here
        if not same or code == their_code == 200 and mine != other:
            differ.note(f"{what}: {method} {name} {json.dumps(body)}", (code, answer if code != 200 else mine),
                        (their_code, their_answer if their_code != 200 else other))

    calls = table(rnd, runs, experiments, models)
    for e in ["e0", "e1"]:
        one("first", POST, "experiments/create", {"name": e})
    one("first", POST, "runs/create", {"experiment_id": experiments[-1], "run_name": "r1", "start_time": 1})
    for _ in range(TOTAL):
        what = rnd.choice(list(calls) + OFTEN)
        one(what, *calls[what]())
    for run in runs[1:]:
        one("state", GET, "runs/get", {"run_id": run})
        one("state", GET, "artifacts/list", {"run_id": run, "path": "d"})
    for experiment in experiments[1:]:
        one("state", GET, "experiments/get", {"experiment_id": experiment})
    for name in registered:
        one("state", GET, "registered-models/get", {"name": name})
    for model in models[1:]:
        one("state", GET, "logged-models/" + model, None)
    return asked


if __name__ == "__main__":
    servers.main(compare)
