package main

import (
	endian "encoding/binary"
	"slices"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// readOnce runs a command, after FILE... and --, and fails where it has opened one of
// the files not at all or more than once.
func readOnce(ts *testscript.TestScript, neg bool, args []string) {
	split := slices.Index(args, "--")
	if neg || split < 1 || split == len(args)-1 {
		ts.Fatalf("usage: readonce FILE... -- COMMAND...")
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	ts.Check(err)
	defer unix.Close(fd)
	files := map[int]string{}
	for _, file := range args[:split] {
		watch, err := unix.InotifyAddWatch(fd, ts.MkAbs(file), unix.IN_OPEN)
		ts.Check(err)
		files[watch] = file
	}
	ts.Check(ts.Exec(args[split+1], args[split+2:]...))
	opened := map[string]int{}
	buf := make([]byte, 1<<16)
	for {
		n, err := unix.Read(fd, buf)
		if err == unix.EAGAIN {
			break
		}
		ts.Check(err)
		for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			opened[files[int(endian.NativeEndian.Uint32(b))]]++
			b = b[unix.SizeofInotifyEvent+int(endian.NativeEndian.Uint32(b[12:])):]
		}
	}
	for _, file := range args[:split] {
		if opened[file] != 1 {
			ts.Fatalf("%s was opened %d times", file, opened[file])
		}
	}
}
