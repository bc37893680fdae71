# want: ValueError: rank 0 fails
# A launcher writes its own traceback below those of its processes, whose lines say whose
# they are, as torchrun does.
import subprocess, sys, threading

CHILD = """
def step(rank):
    raise ValueError(f"rank {rank} fails")

step(0)
"""

class ChildFailedError(Exception):
    pass

if len(sys.argv) > 1:
    raise ValueError("rank 0 fails")  # here
p = subprocess.run([sys.executable, __file__, "child"], capture_output=True, text=True)
for line in p.stderr.splitlines():
    print("[rank0]: " + line, file=sys.stderr)
    print("[rank1]: waiting", file=sys.stderr)
raise ChildFailedError("\n====\ntorchrun.py FAILED\n----")
