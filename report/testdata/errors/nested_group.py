# want: ValueError: deep
errors = []
try:
    raise ValueError("deep")  # here
except Exception as e:
    errors.append(ExceptionGroup("inner", [e]))
try:
    raise ExceptionGroup("outer", errors)
except Exception as e:
    raise ExceptionGroup("all", [e, TypeError("never raised")])
