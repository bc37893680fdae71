//go:build race

package testenv

// race is set in a test that the race detector watches.
const race = true
