"""The real MlflowClient, asked 200 random things, answers alike with MLflow's own server and
ours: what it returns, and what it raises."""
import enum, logging, os, tempfile
import servers
import mlflow
from mlflow import MlflowClient
from mlflow.entities import (Dataset, DatasetInput, InputTag, LoggedModelInput, LoggedModelOutput, LoggedModelStatus,
                             Metric, Param, RunTag, ViewType)
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.runs_artifact_repo import RunsArtifactRepository

TOTAL = 200
os.environ.update({"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
                   "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"})
logging.disable(logging.WARNING)


def value(x):
    """What a call returned, as JSON would have it."""
    if isinstance(x, (str, int, float, type(None))):
        return x
    if isinstance(x, enum.Enum):
        return x.name
    if isinstance(x, dict):
        return {str(k): value(v) for k, v in x.items()}
    if isinstance(x, (set, frozenset)):
        return sorted(map(value, x))
    if isinstance(x, (list, tuple)):
        out = [value(v) for v in x]
        return out + ["more"] if getattr(x, "token", None) else out
    if not hasattr(x, "__dict__"):
        return str(x)
    return {k.lstrip("_"): value(v) for k, v in vars(x).items() if not k.startswith("__")}


def files(folder):
    """What was downloaded: the text of a file, or of those in a folder."""
    if os.path.isfile(folder):
        with open(folder) as f:
            return f.read()
    return {os.path.relpath(os.path.join(at, f), folder): files(os.path.join(at, f))
            for at, _, names in os.walk(folder) for f in names}


def dataset(name, context):
    return DatasetInput(Dataset(name, "1", "local", "x"), [InputTag("mlflow.data.context", context)])


def batch(c, run, metrics, params, tags):
    c.log_batch(run, [Metric(*m) for m in metrics], [Param(*p) for p in params], [RunTag(*t) for t in tags])


def download(c, run, path):
    with tempfile.TemporaryDirectory() as to:
        return files(c.download_artifacts(run, path, to))


def upload(c, run, names, under):
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            os.makedirs(os.path.dirname(os.path.join(folder, name)), exist_ok=True)
            with open(os.path.join(folder, name), "w") as f:
                f.write(name * 3)
        if len(names) == 1:
            return c.log_artifact(run, os.path.join(folder, names[0]), under)
        return c.log_artifacts(run, folder, under)


def place(uri):
    """Where artifacts are; of a run's, our server says what MLflow's client finds out."""
    if not uri.startswith("runs:/"):
        return uri
    return RunsArtifactRepository.get_underlying_uri(uri)


def every_page(search, most, **how):
    out, token = [], None
    while True:
        page = search(max_results=most, page_token=token, **how)
        out, token = out + page, page.token
        if not token or len(out) > 100:
            return out


def table(rnd, runs, experiments, models):
    """The calls that there are: a function of a client, and its arguments."""
    pick, text = rnd.choice, lambda: rnd.choice(["", "x", "é" * 10, "y" * 6001, "ü" * 8001, "it's", "v1", "v1", "v2"])
    key = lambda: pick(["a", "b", "c"] * 2 + ["d/e", "k" * 250, "k" * 251, "../x", "bad*", "", "mlflow.note.content"])
    number = lambda: pick([0, 1, -2.5, 0.5, float("nan"), float("inf"), 1e300, True, "1", "x"])
    metric = lambda: [key(), pick([0, 1, -2.5, 0.5, float("nan"), float("inf")]), rnd.randint(0, 9), rnd.randint(-1, 3)]
    pair = lambda: [key(), text()]
    some = lambda f, most=3: [f() for _ in range(rnd.randint(0, most))]
    run, experiment, model = (lambda: pick(runs[-10:])), (lambda: pick(experiments[-6:])), (lambda: pick(models[-6:]))
    name, number_of = lambda: pick(["m1", "m2", "m3", "none"]), lambda: pick(["1", "2", "3"])
    prompt = lambda: pick(["p1", "p2", "m1"])
    view = lambda: pick([ViewType.ACTIVE_ONLY, ViewType.DELETED_ONLY, ViewType.ALL])
    path = lambda: pick(["x.txt", "d/y.txt", "d/ü b.txt", "../z", "/abs", "d//e.txt", "d"])
    where = lambda: pick(["", "metrics.a > 0", "params.a = 'v1'", "tags.b = 'v2'", "status = 'FINISHED'", "bad = 1",
                          "run_name LIKE 'r%'", "metrics.`d/e` >= 0", "attributes.run_name ILIKE 'R1'", "params.a > 1"])

    def source():
        """Where a version comes from, with its run and model, which MLflow's newest server
        wants to be told; ours finds them. Of a run that is not there MLflow makes a version."""
        r, m = pick(runs[1:]), pick(models[1:] or models)
        return pick([["runs:/" + r + "/m", r, None], ["models:/" + m, None, m], ["file:///etc", r, None],
                     ["nothing", None, None]])

    uri = lambda: pick(["models:/m1/1", "models:/m2@best", "models:/m1/latest", "models:/none/1", "models:/m1"])
    return {
        "create_experiment": lambda: (lambda c, n, tags: c.create_experiment(n, tags=dict(tags)), [
            pick([f"e{rnd.randint(0, 9)}", "", "x" * 501]), some(pair)]),
        "rename_experiment": lambda: (lambda c, *a: c.rename_experiment(*a), [experiment(), f"e{rnd.randint(0, 9)}"]),
        "delete_experiment": lambda: (lambda c, e: c.delete_experiment(e), [experiment()]),
        "restore_experiment": lambda: (lambda c, e: c.restore_experiment(e), [experiment()]),
        "set_experiment_tag": lambda: (lambda c, *a: c.set_experiment_tag(*a), [experiment(), key(), text()]),
        "delete_experiment_tag": lambda: (lambda c, *a: c.delete_experiment_tag(*a), [experiment(), key()]),
        "get_experiment": lambda: (lambda c, e: c.get_experiment(e), [experiment()]),
        "get_experiment_by_name": lambda: (lambda c, n: c.get_experiment_by_name(n), [f"e{rnd.randint(0, 9)}"]),
        "search_experiments": lambda: (lambda c, v, most, f: every_page(
            c.search_experiments, most, view_type=v, filter_string=f, order_by=["name"]), [
            view(), pick([1, 3, 100]), pick(["", "name LIKE 'e%'", "tags.a = 'v1'", "bad = 1"])]),
        "create_run": lambda: (lambda c, e, n, tags, start: c.create_run(e, start, dict(tags), n), [
            experiment(), pick(["r1", "r2"]), some(pair, 2), rnd.randint(1000, 9999999)]),
        "nested run": lambda: (lambda c, e, parent, start: c.create_run(
            e, start, {"mlflow.parentRunId": parent}, "r3"), [
            experiment(), run(), rnd.randint(1000, 9999999)]),
        "get_parent_run": lambda: (lambda c, r: c.get_parent_run(r), [run()]),
        "update_run": lambda: (lambda c, *a: c.update_run(*a), [
            run(), pick([None, "FINISHED", "RUNNING", "bad"]), pick([None, "r9", ""])]),
        "set_terminated": lambda: (lambda c, *a: c.set_terminated(*a), [
            run(), pick([None, "FAILED", "KILLED", "bad"]), rnd.randint(0, 9999)]),
        "delete_run": lambda: (lambda c, r: c.delete_run(r), [run()]),
        "restore_run": lambda: (lambda c, r: c.restore_run(r), [run()]),
        "get_run": lambda: (lambda c, r: c.get_run(r), [run()]),
        "search_runs": lambda: (lambda c, e, f, v, most, order: every_page(
            lambda **how: c.search_runs(e, f, v, **how), most, order_by=order), [
            rnd.sample(experiments, min(2, len(experiments))), where(), view(), pick([1, 3, 100]),
            pick([[], ["metrics.a DESC", "start_time"], ["params.a"], ["x y z"]])]),
        "log_metric": lambda: (lambda c, *a: c.log_metric(*a), [
            run(), key(), number(), pick([1, 2, -1]), pick([None, 0, 1, -1])]),
        "log_param": lambda: (lambda c, *a: c.log_param(*a), [run(), key(), pick([text(), 1, None, True, [1, 2]])]),
        "set_tag": lambda: (lambda c, *a: c.set_tag(*a), [run(), key(), pick([text(), 1, None])]),
        "delete_tag": lambda: (lambda c, *a: c.delete_tag(*a), [run(), key()]),
        "log_batch": lambda: (batch, [run(), some(metric), some(pair, 2), some(pair, 2)]),
        "large batch": lambda: (batch, [run(), [["loss", i % 7, i, i] for i in range(pick([999, 1000, 1001, 2500]))],
                                        [[f"p{i}", "x"] for i in range(pick([0, 100, 101]))], []]),
        "get_metric_history": lambda: (lambda c, *a: c.get_metric_history(*a), [run(), pick(["a", "b", "loss"])]),
        "log_inputs": lambda: (lambda c, r, d, m: c.log_inputs(
            r, [dataset(*x) for x in d], [LoggedModelInput(x) for x in m]), [
            run(), some(lambda: [pick(["d1", "d2"]), pick(["train", "eval"])], 2), some(model, 1)]),
        "log_outputs": lambda: (lambda c, r, m, step: c.log_outputs(r, [LoggedModelOutput(m, step)]), [
            run(), model(), rnd.randint(0, 2)]),
        "log_text": lambda: (lambda c, *a: c.log_text(*a), [run(), text(), path()]),
        "log_dict": lambda: (lambda c, *a: c.log_dict(*a), [
            run(), {"a": text()[:9]}, pick(["a.json", "d/b.yaml", "../c.json"])]),
        "log_table": lambda: (lambda c, r, n: c.log_table(r, {"x": [n, 2]}, "table.json"), [run(), rnd.randint(0, 9)]),
        "log_artifacts": lambda: (upload, [
            run(), pick([["x.txt"], ["x.txt", "s/y.txt"]]), pick([None, "d", "u/v", "../w"])]),
        "list_artifacts": lambda: (lambda c, *a: c.list_artifacts(*a), [
            run(), pick([None, "", "d", "x.txt", "none", "../x"])]),
        "download_artifacts": lambda: (download, [run(), pick(["x.txt", "d", "d/y.txt", "none", "../x", ""])]),
        "create_registered_model": lambda: (lambda c, n, tags, d: c.create_registered_model(n, dict(tags), d), [
            pick(["m1", "m2", "m3", "a/b", "a:b", ""]), some(pair, 2), text()[:50]]),
        "get_registered_model": lambda: (lambda c, n: c.get_registered_model(n), [name()]),
        "rename_registered_model": lambda: (lambda c, *a: c.rename_registered_model(*a), [
            pick(["m2", "m3"]), pick(["m1", "m2", "m3", "a/b"])]),
        "update_registered_model": lambda: (lambda c, *a: c.update_registered_model(*a), [name(), text()[:50]]),
        "delete_registered_model": lambda: (lambda c, n: c.delete_registered_model(n), [pick(["m3", "none"])]),
        "search_registered_models": lambda: (lambda c, f, most, order: every_page(
            c.search_registered_models, most, filter_string=f, order_by=order), [
            pick(["", "name = 'm1'", "name ILIKE 'M%'", "tags.a = 'v1'", "bad = 1"]), pick([1, 100]),
            pick([["name"], ["name DESC"], ["bad"]])]),
        "get_latest_versions": lambda: (lambda c, *a: c.get_latest_versions(*a), [
            name(), pick([None, ["Staging"], ["production", "None"], ["x"]])]),
        "set_registered_model_tag": lambda: (lambda c, *a: c.set_registered_model_tag(*a), [name(), key(), text()]),
        "delete_registered_model_tag": lambda: (lambda c, *a: c.delete_registered_model_tag(*a), [name(), key()]),
        "create_model_version": lambda: (lambda c, n, s, tags, d: c.create_model_version(
            n, s[0], s[1], dict(tags), description=d, await_creation_for=0, model_id=s[2]), [
            name(), source(), some(pair, 2), text()[:50]]),
        "copy_model_version": lambda: (lambda c, *a: c.copy_model_version(*a), [uri(), pick(["m1", "m2", "m3"])]),
        "get_model_version": lambda: (lambda c, *a: c.get_model_version(*a), [name(), number_of()]),
        "update_model_version": lambda: (lambda c, *a: c.update_model_version(*a), [name(), number_of(), text()[:50]]),
        "transition_model_version_stage": lambda: (lambda c, *a: c.transition_model_version_stage(*a), [
            name(), number_of(), pick(["Staging", "production", "x"]), pick([True, False])]),
        "delete_model_version": lambda: (lambda c, *a: c.delete_model_version(*a), ["m2", number_of()]),
        "get_model_version_download_uri": lambda: (lambda c, *a: place(c.get_model_version_download_uri(*a)), [
            name(), number_of()]),
        "search_model_versions": lambda: (lambda c, f, most: every_page(
            c.search_model_versions, most, filter_string=f, order_by=["name", "version_number"]), [
            pick(["", "name = 'm1'", "name LIKE 'm%'", "tags.a = 'v1'", "run_id = 'x'", "bad = 1"]), pick([1, 100])]),
        "set_model_version_tag": lambda: (lambda c, *a: c.set_model_version_tag(*a), [
            name(), number_of(), key(), text()]),
        "delete_model_version_tag": lambda: (lambda c, *a: c.delete_model_version_tag(*a), [
            name(), number_of(), key()]),
        "set_registered_model_alias": lambda: (lambda c, *a: c.set_registered_model_alias(*a), [
            name(), pick(["best", "latest", "v1", "a b"]), number_of()]),
        "delete_registered_model_alias": lambda: (lambda c, *a: c.delete_registered_model_alias(*a), [
            name(), pick(["best", "none"])]),
        "get_model_version_by_alias": lambda: (lambda c, *a: c.get_model_version_by_alias(*a), [
            name(), pick(["best", "latest", "none"])]),
        "create_logged_model": lambda: (lambda c, e, n, r, tags, params: c.create_logged_model(
            e, n, r, dict(tags), dict(params), "kind"), [
            experiment(), pick(["l1", "l2", "a/b"]), run(), some(pair, 2), some(pair, 2)]),
        "log_model_params": lambda: (lambda c, m, p: c.log_model_params(m, dict(p)), [model(), some(pair)]),
        "finalize_logged_model": lambda: (lambda c, *a: c.finalize_logged_model(*a), [
            model(), pick(["READY", "FAILED", LoggedModelStatus.READY, "bad"])]),
        "get_logged_model": lambda: (lambda c, m: c.get_logged_model(m), [model()]),
        "delete_logged_model": lambda: (lambda c, m: c.delete_logged_model(m), [model()]),
        "set_logged_model_tags": lambda: (lambda c, m, t: c.set_logged_model_tags(m, dict(t)), [model(), some(pair)]),
        "delete_logged_model_tag": lambda: (lambda c, *a: c.delete_logged_model_tag(*a), [
            model(), pick(["a", "b", "c", "bad*"])]),  # MLflow's server finds no tag with a slash in its name
        "search_logged_models": lambda: (lambda c, e, f, most, order, datasets: every_page(
            lambda **how: c.search_logged_models(e, f, datasets, **how), most, order_by=order), [
            rnd.sample(experiments, min(2, len(experiments))),
            pick(["", "name = 'l1'", "name LIKE 'l%'", "params.a = 'v1'", "tags.a = 'v1'", "metrics.a > 1",
                  "metrics.a > 0 AND metrics.b > 0", "bad = 1"]),
            pick([1, 2, 100]),
            pick([[], [{"field_name": pick(["name", "metrics.a", "bad", "params.a"])}],
                  [{"field_name": pick(["name", "metrics.b"]), "ascending": False}],
                  [{"field_name": "metrics.a", "dataset_name": "d1"}]]),
            # Where no digest is given, MLflow's server looks for metrics of a dataset without one.
            pick([None, None, [{"dataset_name": "d1", "dataset_digest": rnd.choice("12")}], [{"dataset_name": ""}],
                  [{"dataset_name": d, "dataset_digest": "1"} for d in ["d1", "d2"]]])]),
        # Steps that differ: MLflow refuses a step's value again where the dataset is another. Of two
        # faults of a metric it tells another one first where a model is named.
        "metric of model": lambda: (lambda c, r, k, m, v, d, step: c.log_metric(
            r, k, v, 1, step, dataset_name=d, dataset_digest=d and "1", model_id=m), [
            run(), pick(["a", "b"]), pick(models[1:] or models), pick([0.5, 2]), pick([None, "d1", "d2"]),
            rnd.randint(0, 10**9)]),
        "register_prompt": lambda: (lambda c, n, t, tags: c.register_prompt(n, t, "why", dict(tags)), [
            prompt(), pick(["Say {{x}}.", "Plain", "{{ a }} and {{b}}"]), some(lambda: [pick("abc"), "v"], 2)]),
        "load_prompt": lambda: (lambda c, n, v: c.load_prompt(n, v, cache_ttl_seconds=0), [
            prompt(), pick([None, 1, 2])]),
        "search_prompts": lambda: (lambda c, f: c.search_prompts(f), [pick([None, "name = 'p1'", "tags.a = 'v'"])]),
        "set_prompt_alias": lambda: (lambda c, *a: c.set_prompt_alias(*a), [prompt(), "prod", pick([1, 2])]),
        "delete_prompt_alias": lambda: (lambda c, *a: c.delete_prompt_alias(*a), [prompt(), "prod"]),
    }


OFTEN = ["create_run"] * 4 + ["metric of model", "search_logged_models"] * 2 + [
    "create_logged_model", "create_registered_model", "create_model_version", "log_batch", "get_run", "search_runs",
    "log_text"] * 3


def compare(ours, theirs, rnd, differ):
    runs, experiments, models = ["$none"], ["0"], ["$nomodel"]
    clients = {}
    for server in ours, theirs:
        server.ids.update({"$none": "0" * 32, "$nomodel": "m-" + "0" * 32})
        clients[server] = MlflowClient(server.base, server.base)
    asked = 0

    def ask(server, call, args):
        os.environ["MLFLOW_TRACKING_TOKEN"] = server.token
        mlflow.set_tracking_uri(server.base)
        mlflow.set_registry_uri(server.base)
        try:
            return call(clients[server], *server.fill(args)), None
        except MlflowException as e:
            return None, e.error_code
        except Exception as e:
            return None, type(e).__name__

    def learn(what, a, b):
        known, get = {"create_experiment": (experiments, str), "create_run": (runs, lambda x: x.info.run_id),
                      "nested run": (runs, lambda x: x.info.run_id),
                      "create_logged_model": (models, lambda x: x.model_id)}.get(what, (None, None))
        if known is not None:
            known.append(f"${what[0]}{asked}")
            ours.learn(known[-1], get(a))
            theirs.learn(known[-1], get(b))

    def one(what, call, args):
        nonlocal asked
        asked += 1
        (a, refused), (b, their_refusal) = ask(ours, call, args), ask(theirs, call, args)
        if not refused and not their_refusal:
            learn(what, a, b)
            mine, other = ours.plain(value(a)), theirs.plain(value(b))
        else:
            mine, other = refused, their_refusal
            # An error of MLflow's own code or of its database is a refusal of the request here.
            if their_refusal in ("INTERNAL_ERROR", "BAD_REQUEST") and refused:
                return
            if what == "log_outputs" and not refused and their_refusal == "BAD_REQUEST":
                return # the same again is no error here
        if mine != other:
            differ.note(f"{what} {args}", mine, other)

    calls = table(rnd, runs, experiments, models)
    one("create_experiment", lambda c: c.create_experiment("e0"), [])
    one("create_run", lambda c, e: c.create_run(e, 1, {}, "r1"), [experiments[-1]])
    for _ in range(TOTAL):
        what = rnd.choice(list(calls) + OFTEN)
        one(what, *calls[what]())
    for run in runs[1:]:
        one("state", lambda c, r: c.get_run(r), [run])
        one("state", download, [run, ""])
    for model in models[1:]:
        one("state", lambda c, m: c.get_logged_model(m), [model])
    return asked


if __name__ == "__main__":
    servers.main(compare)
