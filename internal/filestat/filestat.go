// Package filestat answers: is this file still the one that was seen?
//
// It keeps of a file what git keeps of it in its index (gitformat-index(5),
// "Index entry"): a change of content, of rights or of links moves the change
// time, which no program can set back.
package filestat

// Stat is what is kept. Two of the same file are equal while it is unchanged.
type Stat struct {
	Size         int64
	Mtime, Ctime int64 // nanoseconds since 1970; Ctime is 0 where the system has none
	Inode        uint64
}
