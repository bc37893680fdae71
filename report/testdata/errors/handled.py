# want: TypeError: the last
import traceback

try:
    {}["x"]
except KeyError:
    traceback.print_exc()
raise TypeError("the last")  # here
