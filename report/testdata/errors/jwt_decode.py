# want: jwt.exceptions.DecodeError: It is required that you pass in a value for the "algorithms" argument when calling decode().
# says: put `PyJWT<2` into the environment
DecodeError = type("DecodeError", (Exception,), {"__module__": "jwt.exceptions"})
raise DecodeError('It is required that you pass in a value for the "algorithms" argument when calling decode().')  # here
