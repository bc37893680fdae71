//go:build !linux

package main

import "github.com/rogpeppe/go-internal/testscript"

// killall9 finds processes as Linux shows them.
func killall9(ts *testscript.TestScript, neg bool, args []string) {
	ts.Fatalf("killall9 is written for Linux")
}
