# want: ValueError: bad sample 1
from concurrent.futures import ProcessPoolExecutor

def work(n):
    if n == 1:
        raise ValueError(f"bad sample {n}")  # here
    return n

if __name__ == "__main__":
    with ProcessPoolExecutor(1) as pool:
        print(list(pool.map(work, range(3))))
