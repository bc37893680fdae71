# Microsoft's own client, azure-ai-ml, signed in to the workspace that is the double's.
import json, os, time, urllib.parse, urllib.request, ssl, logging, warnings
warnings.filterwarnings("ignore"); logging.disable(logging.CRITICAL)
creds = json.loads(os.environ["AZURE_CREDENTIALS"])
os.environ["AZURE_CORE_COLLECT_TELEMETRY"] = "0"
from azure.core.credentials import AccessToken
from azure.ai.ml import MLClient
from azure.ai.ml._utils import _storage_utils
from azure.ai.ml._artifacts import _artifact_utilities
context = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])


class Credential:
    def get_token(self, *scopes, **kwargs):
        scope = scopes[0]
        if "storage.azure.com" not in scope: # the clients name Microsoft's own cloud here and there
            machine_learning = "//ml.azure.com" in scope or scope.startswith(creds["machineLearningResourceId"])
            scope = creds["machineLearningResourceId" if machine_learning else "resourceManagerEndpointUrl"] + "/.default"
        form = urllib.parse.urlencode({"client_id": creds["clientId"], "client_secret": creds["clientSecret"], "scope": scope}).encode()
        answer = json.load(urllib.request.urlopen(creds["activeDirectoryEndpointUrl"] + "/" + creds["tenantId"] + "/oauth2/v2.0/token", form, context=context))
        return AccessToken(answer["access_token"], int(time.time()) + 3600)


name = "double"
metadata = {name: {"azure_portal": creds["resourceManagerEndpointUrl"], "resource_manager": creds["resourceManagerEndpointUrl"] + "/", "active_directory": creds["activeDirectoryEndpointUrl"] + "/",
    "aml_resource_id": creds["machineLearningResourceId"], "storage_endpoint": "core.windows.net", "registry_discovery_endpoint": creds["resourceManagerEndpointUrl"]}}
client = MLClient(Credential(), creds["subscriptionId"], "flowers", "garden", cloud=name, cloud_metadata=metadata[name], enable_telemetry=False)

# A storage account of the double's has no host of its own.
for module in (_storage_utils, _artifact_utilities):
    for kind in module.STORAGE_ACCOUNT_URLS:
        module.STORAGE_ACCOUNT_URLS[kind] = creds["blobEndpointUrl"].replace("{account}", "{}")
