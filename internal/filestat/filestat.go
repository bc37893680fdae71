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

// MatchesIndex compares with an entry of git's index, whose size and inode are cut
// to 32 bits. Times without nanoseconds there never match: such an index was
// written by a program that does not keep them. On Windows nothing matches: what
// git keeps there as inode and change time cannot be had without another call a
// file.
func (s Stat) MatchesIndex(size uint32, mtime, ctime int64, inode uint32, trustCtime bool) bool {
	return fromIndex && uint32(s.Size) == size && s.Mtime == mtime && uint32(s.Inode) == inode &&
		(!trustCtime || s.Ctime == ctime)
}
