# want: IndexError: list index out of range
from concurrent.futures import ThreadPoolExecutor

def work(n):
    return [][n]  # here

with ThreadPoolExecutor() as pool:
    pool.submit(work, 1).result()
