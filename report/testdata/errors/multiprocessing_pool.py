# want: ZeroDivisionError: division by zero
import multiprocessing

def work(n):
    return 1 / n  # here

if __name__ == "__main__":
    with multiprocessing.Pool(1) as pool:
        pool.map(work, [1, 0])
