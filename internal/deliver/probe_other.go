//go:build !linux

package deliver

import "os"

// unnamed makes nothing: there are no files without a name.
func unnamed(*os.Root, string) (done bool) { return false }
