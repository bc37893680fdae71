# Submits a job file with Microsoft's own client, azure-ai-ml, as often as it is told,
# and prints the seconds that each submission took; without a number, the hash of the
# job's files. The workspace is the double's.
import json, os, sys, time, urllib.parse, urllib.request, ssl, logging, warnings
warnings.filterwarnings("ignore"); logging.disable(logging.CRITICAL)
creds = json.loads(os.environ["AZURE_CREDENTIALS"])
os.environ["AZURE_CORE_COLLECT_TELEMETRY"] = "0"
from azure.core.credentials import AccessToken
from azure.ai.ml import MLClient, load_job
context = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])


class Credential:
    def get_token(self, *scopes, **kwargs):
        scope = creds["resourceManagerEndpointUrl"] + "/.default" if "ml" not in scopes[0].rsplit("/", 2)[-2] else scopes[0]
        form = urllib.parse.urlencode({"client_id": creds["clientId"], "client_secret": creds["clientSecret"], "scope": scope}).encode()
        answer = json.load(urllib.request.urlopen(creds["activeDirectoryEndpointUrl"] + "/" + creds["tenantId"] + "/oauth2/v2.0/token", form, context=context))
        return AccessToken(answer["access_token"], int(time.time()) + 3600)


name = "double"
metadata = {name: {"azure_portal": creds["resourceManagerEndpointUrl"], "resource_manager": creds["resourceManagerEndpointUrl"] + "/", "active_directory": creds["activeDirectoryEndpointUrl"] + "/",
    "aml_resource_id": creds["machineLearningResourceId"], "storage_endpoint": "core.windows.net", "registry_discovery_endpoint": creds["resourceManagerEndpointUrl"]}}
client = MLClient(Credential(), creds["subscriptionId"], "flowers", "garden", cloud=name, cloud_metadata=metadata[name], enable_telemetry=False)
if len(sys.argv) == 2: # only the hash by which it looks for an upload that is there
    from azure.ai.ml._utils._asset_utils import get_content_hash, get_ignore_file
    source = os.path.join(os.path.dirname(sys.argv[1]), "src")
    print(get_content_hash(source, get_ignore_file(source)))
    sys.exit()
for _ in range(int(sys.argv[2])):
    start = time.time()
    client.jobs.create_or_update(load_job(sys.argv[1]))
    print(round(time.time() - start, 4), flush=True)
