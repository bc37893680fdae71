# want: RuntimeError: cannot train
# says: The cause is `KeyError: 'depth'`: `cause.py:6` raised it
def depth(config):
    # whose error says what is wrong
    try:
        return config["depth"]  # here
    finally:
        pass

try:
    depth({})
except KeyError as e:
    raise RuntimeError("cannot train") from e
