# want: ValueError: first
def one():
    raise ValueError("first")  # here

def two():
    raise TypeError("second")

errors = []
for f in one, two:
    try:
        f()
    except Exception as e:
        errors.append(e)
raise ExceptionGroup("several", errors)
