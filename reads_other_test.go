//go:build !linux

package main

import "github.com/rogpeppe/go-internal/testscript"

// readOnce only runs the command: nothing here tells who opens a file.
func readOnce(ts *testscript.TestScript, neg bool, args []string) {
	for i, arg := range args {
		if arg == "--" {
			ts.Check(ts.Exec(args[i+1], args[i+2:]...))
		}
	}
}
