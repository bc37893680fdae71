# Reads a run with Microsoft's own plugin for MLflow, azureml-mlflow: its metrics, and its
# files by way of the run history. The workspace is the double's. The run's name and its
# experiment are the arguments.
import json, os, ssl, sys, tempfile, urllib.parse, urllib.request

creds = json.loads(os.environ["AZURE_CREDENTIALS"])
run, experiment = sys.argv[1:]
context = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
form = urllib.parse.urlencode({"client_id": creds["clientId"], "client_secret": creds["clientSecret"], "scope": creds["resourceManagerEndpointUrl"] + "/.default"}).encode()
answer = json.load(urllib.request.urlopen(creds["activeDirectoryEndpointUrl"] + "/" + creds["tenantId"] + "/oauth2/v2.0/token", form, context=context))
host = urllib.parse.urlparse(creds["resourceManagerEndpointUrl"]).netloc
scope = f"/subscriptions/{creds['subscriptionId']}/resourceGroups/flowers/providers/Microsoft.MachineLearningServices/workspaces/garden"
os.environ.update(MLFLOW_TRACKING_URI=f"azureml://{host}/mlflow/v1.0{scope}", MLFLOW_TRACKING_TOKEN=answer["access_token"], MLFLOW_RUN_ID=run, MLFLOW_EXPERIMENT_NAME=experiment)

import requests


def no_network(*_, **__): # as it is loaded, the plugin asks Microsoft which clouds there are
    raise requests.exceptions.ConnectionError


get, requests.get = requests.get, no_network
import mlflow
from azureml.mlflow._client.artifact._utils import blob_artifact_util
from azureml.mlflow._store.artifact.artifact_repo import AzureMLflowArtifactRepository

requests.get = get
blob_artifact_util.is_source_uri_matches_storage_blob = lambda *_, **__: True # the double's storage account has no host of its own

client = mlflow.MlflowClient()
found = client.get_run(run)
assert found.data.metrics == {"accuracy": 0.9}, found.data.metrics
assert [m.value for m in client.get_metric_history(run, "accuracy")] == [0.9]
assert run in [r.info.run_id for r in client.search_runs([found.info.experiment_id], "metrics.accuracy > 0.5")]
files = AzureMLflowArtifactRepository(f"azureml://{host}/history/v1.0{scope}/experiments/{experiment}/runs/{run}/artifacts")
assert "outputs" in [f.path for f in files.list_artifacts(None)], files.list_artifacts(None)
with tempfile.TemporaryDirectory() as folder:
    files.artifacts.download_artifact("outputs/metrics.json", folder + "/metrics.json")
    assert json.load(open(folder + "/metrics.json")) == {"accuracy": 0.9}
