// Package version answers: which aml-train is this?
package version

import "runtime/debug"

// release is set by the linker in a released binary.
var release string

// String is the release, or the commit that the binary was built from.
func String() string {
	if release != "" {
		return release
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		if v := info.Main.Version; v != "" && v != "(devel)" {
			return v
		}
	}
	return "devel"
}
