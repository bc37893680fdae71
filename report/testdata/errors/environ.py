# want: KeyError: 'API_TOKEN_OF_TOMORROW'
# says: The run has no environment variable `API_TOKEN_OF_TOMORROW`: pass it on with `--env API_TOKEN_OF_TOMORROW`
import os

env = os.environ
print(env["API_TOKEN_OF_TOMORROW"])  # here
