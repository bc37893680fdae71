# want: json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)
import json

def read():
    return json.loads("")  # here

read()
