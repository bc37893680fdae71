# want: ValueError: of the child
# file: child.py
import subprocess, sys

open("child.py", "w").write('def f():\n    raise ValueError("of the child")  # here\n\nf()\n')
subprocess.run([sys.executable, "child.py"], check=True)
