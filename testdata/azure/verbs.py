# Does with Microsoft's own client, azure-ai-ml, what aml-train does: submit, show, stream,
# list, archive, restore, download, cancel. The workspace is the double's. The job file is
# the first argument, the folder to download to the second; prints the job's name.
import os, sys
from azure.ai.ml import load_job
from double import client

job = client.jobs.create_or_update(load_job(sys.argv[1]))
print(job.name, flush=True)
os.makedirs(sys.argv[2], exist_ok=True)
os.chdir(sys.argv[2])
client.jobs.stream(job.name)
shown = client.jobs.get(job.name)
assert shown.status == "Completed", shown.status
client.jobs.archive(job.name)
assert job.name not in [j.name for j in client.jobs.list()]
client.jobs.restore(job.name)
assert job.name in [j.name for j in client.jobs.list()]
client.jobs.download(job.name, download_path=sys.argv[2], all=True)
assert open("artifacts/outputs/model.txt").read() == "model"
assert open("named-outputs/weights/w.txt").read() == "weights"
long = load_job(sys.argv[1])
long.command = "sleep 600"
long = client.jobs.create_or_update(long)
while client.jobs.get(long.name).status != "Running":
    pass
client.jobs.begin_cancel(long.name).result()
while client.jobs.get(long.name).status == "Running":
    pass
