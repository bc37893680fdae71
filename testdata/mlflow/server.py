"""MLflow's own server, which begins anew when asked to: POST /anew gives it an empty database
and no artifacts, so that many histories need one start, whose imports take ten seconds.
It prints its address, and ends with its standard input."""
import os, shutil, socket, sys, tempfile, threading

home = tempfile.mkdtemp()
os.environ.update({"_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{home}/empty.db", "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
                   "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/", "_MLFLOW_SGI_NAME": "uvicorn",
                   "_MLFLOW_SERVER_ARTIFACT_DESTINATION": home + "/artifacts0", "MLFLOW_DISABLE_TELEMETRY": "true"})
import uvicorn
from mlflow.server import handlers
from mlflow.server.fastapi_app import app
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

handlers.initialize_backend_stores(os.environ["_MLFLOW_SERVER_FILE_STORE"], None, "mlflow-artifacts:/")
began = 0

def anew():
    global began
    began += 1
    database = f"{home}/{began}.db"
    shutil.copy(home + "/empty.db", database)
    handlers._tracking_store = handlers._model_registry_store = None
    os.environ["_MLFLOW_SERVER_FILE_STORE"] = "sqlite:///" + database
    handlers.initialize_backend_stores("sqlite:///" + database, None, "mlflow-artifacts:/")
    handlers._artifact_repo = get_artifact_repository(f"{home}/artifacts{began}")

async def server(scope, receive, send):
    if scope["type"] == "http" and scope["path"] == "/anew":
        anew()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})
    else:
        await app(scope, receive, send)

def until_closed():
    sys.stdin.read()
    shutil.rmtree(home, ignore_errors=True)
    os._exit(0)

# Named a TCP socket, asyncio has it send an answer's body at once: each took 40 ms.
with socket.socket(proto=socket.IPPROTO_TCP) as listener:
    listener.bind(("127.0.0.1", 0))
    listener.listen(64)
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    threading.Thread(target=until_closed, daemon=True).start()
    uvicorn.Server(uvicorn.Config(server, log_level="critical", timeout_keep_alive=3600)).run(sockets=[listener])
