# Registers the model of a run with Microsoft's own client, azure-ai-ml, and reads what aml-train
# has registered. The workspace is the double's. The run is the first argument, aml-train's model
# the second.
import sys
from azure.ai.ml.constants import AssetTypes
from azure.ai.ml.entities import Model
from double import client

run, name = sys.argv[1:]
theirs = client.models.create_or_update(Model(name="theirs", type=AssetTypes.MLFLOW_MODEL,
                                              path=f"azureml://jobs/{run}/outputs/artifacts/paths/outputs/model"))
assert theirs.version == "1", theirs.version
(ours,) = client.models.list(name)
assert ours.version == "1" and ours.tags["alias.best"] == "true", ours
ours = client.models.get(name, "1")
assert ours.type == AssetTypes.MLFLOW_MODEL and ours.job_name == run and ours.path == theirs.path, (ours, theirs)
again = client.models.create_or_update(Model(name=name, type=AssetTypes.MLFLOW_MODEL, path=theirs.path))
assert again.version == "2", again.version
