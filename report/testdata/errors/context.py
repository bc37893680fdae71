# want: RuntimeError: while handling
try:
    {}["x"]
except KeyError:
    raise RuntimeError("while handling")  # here
