// Package hexid answers: what is a new thing called that nobody names?
package hexid

import (
	"crypto/rand"
	"encoding/hex"
)

// New is a random id of so many lower-case hex digits, an even number. Of 32, no two are the same;
// of 8, no two of the few that begin with the same name.
func New(digits int) string {
	b := make([]byte, digits/2)
	rand.Read(b)
	return hex.EncodeToString(b)
}
