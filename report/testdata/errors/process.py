# want: OSError: no such device
import multiprocessing, sys

def work():
    raise OSError("no such device")  # here

if __name__ == "__main__":
    p = multiprocessing.Process(target=work)
    p.start()
    p.join()
    sys.exit(1)
