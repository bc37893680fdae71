package deliver

import (
	"os"

	"golang.org/x/sys/unix"
)

// unnamed makes a file without a name in a folder below root, which nobody sees, and lets go of it. done
// is false where the file system makes none, or it cannot be made: then one with a name tells why.
func unnamed(root *os.Root, dir string) (done bool) {
	w, err := root.OpenFile(dir, unix.O_TMPFILE|os.O_WRONLY, 0o600)
	return err == nil && w.Close() == nil
}
