# want: ExceptionGroup: none was raised (1 sub-exception)
raise ExceptionGroup("none was raised", [TypeError("x")])  # here
