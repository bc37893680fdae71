//go:build !unix

package object

import "os"

// mapFile returns the content of a file.
func mapFile(name string) ([]byte, func(), error) {
	b, err := os.ReadFile(name)
	return b, func() {}, err
}
