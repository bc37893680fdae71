# want: RecursionError: maximum recursion depth exceeded
def f():
    f()  # here

f()
