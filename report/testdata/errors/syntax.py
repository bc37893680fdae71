# want: SyntaxError: '(' was never closed
print("x"  # here
