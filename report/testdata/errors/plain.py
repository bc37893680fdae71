# want: ValueError: bad
def f():
    raise ValueError("bad")  # here

f()
