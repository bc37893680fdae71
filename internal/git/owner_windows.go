package git

// foreign is not asked on Windows, where a file's owner is often the group of the
// administrators.
func foreign(string) bool { return false }

// deviceOf knows of one file system: a path with a drive's letter lies on one.
func deviceOf(string) uint64 { return 0 }
