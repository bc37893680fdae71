# want: RuntimeError: cannot read sample 3
# A worker of a data loader sends its traceback as text, and the main process raises it
# again, as torch does.
import json, traceback

class Dataset:
    def __getitem__(self, i):
        raise RuntimeError(f"cannot read sample {i}")  # here

def worker():
    try:
        Dataset()[3]
    except RuntimeError:
        return "Caught RuntimeError in DataLoader worker process 0.\nOriginal " + traceback.format_exc()

message = worker()
raise RuntimeError(message)
