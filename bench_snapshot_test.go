//go:build unix

package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// generated is a repository of n files of the given size in folders of 100, all
// committed, beside an ignored folder of 50,000 files.
func generated(b *testing.B, dir string, n, size int) {
	content := make([]byte, size)
	random := rand.NewChaCha8([32]byte{})
	put := func(path string, i int, body []byte) {
		if i%100 == 0 {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				b.Fatal(err)
			}
		}
		if err := os.WriteFile(path, body, 0o644); err != nil {
			b.Fatal(err)
		}
	}
	for i := range n {
		random.Read(content)
		put(filepath.Join(dir, "src", fmt.Sprintf("d%05d", i/100), fmt.Sprintf("f%07d.py", i)), i, content)
	}
	for i := range 50_000 {
		put(filepath.Join(dir, "data", fmt.Sprintf("d%03d", i/100), fmt.Sprintf("f%05d.csv", i)), i, []byte("1,2\n"))
	}
	if err := os.WriteFile(filepath.Join(dir, ".gitignore"), []byte("data/\n"), 0o644); err != nil {
		b.Fatal(err)
	}
	git(b, dir, "init", "-q")
	git(b, dir, "-c", "core.compression=0", "add", "-A")
	git(b, dir, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "x")
	git(b, dir, "-c", "pack.compression=0", "-c", "pack.window=0", "repack", "-adq")
	refresh(b, dir)
}

// refresh leaves an index that vouches for every file: git calls files of the index's own
// second racy. It waits for the disk, too: while a virtual one is written, a machine of two
// processors has one.
func refresh(b *testing.B, dir string) {
	timed(b, dir, "sync")
	time.Sleep(20 * time.Second)
	index := filepath.Join(dir, ".git", "index")
	now := time.Now()
	if err := os.Chtimes(index, now, now); err != nil {
		b.Fatal(err)
	}
	git(b, dir, "status", "--porcelain")
}

func git(b *testing.B, dir string, args ...string) {
	timed(b, dir, "git", args...)
}

// command is a way to time a program, in dir and with its output thrown away.
func command(dir, name string, args ...string) func() (time.Duration, error) {
	return func() (time.Duration, error) {
		cmd := exec.Command(name, args...)
		cmd.Dir = dir
		var errs bytes.Buffer
		cmd.Stderr = &errs
		start := time.Now()
		if err := cmd.Run(); err != nil {
			return 0, fmt.Errorf("%s %v: %w: %s", name, args, err, errs.Bytes())
		}
		return time.Since(start), nil
	}
}

// ratio times ours and the peer by turns, and reports the medians and how many
// times as long ours took.
func ratio(b *testing.B, name string, rounds int, ours, peer func() (time.Duration, error)) {
	b.Run(name, func(b *testing.B) {
		var took [2][]time.Duration
		for b.Loop() {
			for i := range rounds + 1 {
				for which, run := range []func() (time.Duration, error){ours, peer} {
					d, err := run()
					if err != nil {
						b.Fatal(err)
					}
					if i > 0 { // the first warms the file system's cache
						took[which] = append(took[which], d)
					}
				}
			}
		}
		median := func(list []time.Duration) float64 {
			slices.Sort(list)
			return float64(list[len(list)/2].Microseconds()) / 1000
		}
		b.ReportMetric(median(took[0]), "ours-ms")
		b.ReportMetric(median(took[1]), "peer-ms")
		b.ReportMetric(median(took[0])/median(took[1]), "ratio")
		b.ReportMetric(float64(took[0][0])/float64(took[1][0]), "ratio-of-minima") // steadier on a busy machine
		b.ReportMetric(0, "ns/op")
	})
}

// readAll reads every file below dir but those of the ignored folder, with a reader
// for each processor, and does nothing else.
func readAll(dir string) func() (time.Duration, error) {
	return func() (time.Duration, error) {
		start := time.Now()
		paths := make(chan string, 1024)
		var group errgroup.Group
		for range runtime.GOMAXPROCS(0) {
			group.Go(func() error {
				buf := make([]byte, 256<<10)
				for path := range paths {
					f, err := os.Open(path)
					if err != nil {
						return err
					}
					for err == nil {
						_, err = f.Read(buf)
					}
					if f.Close(); err != io.EOF {
						return err
					}
				}
				return nil
			})
		}
		walk := filepath.WalkDir(filepath.Join(dir, "src"), func(path string, e fs.DirEntry, err error) error {
			if err == nil && !e.IsDir() {
				paths <- path
			}
			return err
		})
		close(paths)
		return time.Since(start), cmp.Or(walk, group.Wait())
	}
}

// BenchmarkSnapshot times aml-train snapshot beside the program that people would
// compare it with, on a repository of few large files and one of many small ones.
func BenchmarkSnapshot(b *testing.B) {
	program := binary(b)
	for _, of := range []struct{ files, size int }{{20_000, 20_000}, {200_000, 2_000}} {
		b.Run(fmt.Sprintf("files=%d", of.files), func(b *testing.B) {
			dir := b.TempDir()
			generated(b, dir, of.files, of.size)
			rounds := 4_000_000/of.files/10 + 1
			snapshot := command(dir, program, "snapshot", "--max-snapshot-size", "1GB")
			status := command(dir, "git", "status", "--porcelain")
			ratio(b, "start/git-version", rounds, command(dir, program, "--version"), command(dir, "git", "--version"))
			ratio(b, "clean/git-status", rounds, snapshot, status)
			ratio(b, "metadata-without-dirty/git-rev-parse", rounds,
				command(dir, "env", "AZUREML_GIT_DIRTY=False", program, "metadata"),
				command(dir, "git", "rev-parse", "HEAD"))

			b.Run("peak", func(b *testing.B) { peak(b, dir, program) })
			free := command(dir, program, "snapshot", "--commit", "HEAD", "--max-snapshot-size", "0")
			ratio(b, "commit/git-ls-tree", rounds, free, command(dir, "git", "ls-tree", "-r", "HEAD"))
			ratio(b, "commit-with-sizes/git-ls-tree-l", rounds,
				command(dir, program, "snapshot", "--commit", "HEAD", "--max-snapshot-size", "1GB"),
				command(dir, "git", "ls-tree", "-rl", "HEAD"))

			for i := range 10 {
				path := filepath.Join(dir, "src", fmt.Sprintf("d%05d", i), fmt.Sprintf("f%07d.py", i*100))
				if err := os.WriteFile(path, []byte("changed"), 0o644); err != nil {
					b.Fatal(err)
				}
			}
			ratio(b, "changed=10/git-status", rounds, snapshot, status)
			ratio(b, "changed=10-diff/git-diff", rounds,
				command(dir, program, "snapshot", "--diff", "HEAD", "--max-snapshot-size", "1GB"),
				command(dir, "git", "diff", "--name-status", "HEAD"))
			git(b, dir, "checkout", "-q", ".")

			attributes := filepath.Join(dir, ".gitattributes")
			if err := os.WriteFile(attributes, []byte("* text=auto\n"), 0o644); err != nil {
				b.Fatal(err)
			}
			git(b, dir, "add", "-A")
			refresh(b, dir)
			ratio(b, "text=auto/git-status", rounds, snapshot, status)

			// A fresh clone whose stat data does not match: everything is read each
			// time, as nothing writes the index.
			rounds = 3
			past := time.Now().Add(-time.Hour)
			err := filepath.WalkDir(filepath.Join(dir, "src"), func(path string, e fs.DirEntry, err error) error {
				return errors.Join(err, os.Chtimes(path, past, past))
			})
			if err != nil {
				b.Fatal(err)
			}
			cat := command(dir, "sh", "-c", fmt.Sprintf("find src -type f -print0 | xargs -0 -P %d -n 500 cat",
				runtime.GOMAXPROCS(0)))
			git(b, dir, "rm", "-qf", ".gitattributes") // a file that is gone from the folder only still counts
			add := command(dir, "sh", "-c", "rm -f .git/empty; GIT_INDEX_FILE=.git/empty git -c core.compression=0 "+
				"add -A")
			sums := command(dir, "sh", "-c",
				fmt.Sprintf("find src -type f -print0 | xargs -0 -P %d -n 500 sha1sum", runtime.GOMAXPROCS(0)))
			ratio(b, "fresh/git-add", rounds, snapshot, add)
			ratio(b, "fresh/sha1sum", rounds, snapshot, sums)
			ratio(b, "fresh/read", rounds, snapshot, readAll(dir))
			ratio(b, "fresh/cat", rounds, snapshot, cat)
			if err := os.Rename(filepath.Join(dir, ".git"), filepath.Join(b.TempDir(), "git")); err != nil {
				b.Fatal(err)
			}
			ratio(b, "no-repository/read", rounds, snapshot, readAll(dir))
			ratio(b, "no-repository/cat", rounds, snapshot, cat)
			ratio(b, "no-repository/sha1sum", rounds, snapshot, sums)
		})
	}
}

// BenchmarkSnapshotMemory is the most memory that a snapshot of a million files
// takes, of the working tree and of the commit.
func BenchmarkSnapshotMemory(b *testing.B) {
	program := binary(b)
	base := ""
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		base = "/dev/shm" // a million files take minutes to make on a disk
	}
	dir, err := os.MkdirTemp(base, "million")
	if err != nil {
		b.Fatal(err)
	}
	defer os.RemoveAll(dir)
	generated(b, dir, 1_000_000, 10)
	b.Run("clean", func(b *testing.B) { peak(b, dir, program) })
	b.Run("commit", func(b *testing.B) { peak(b, dir, program, "--commit", "HEAD") })
	if err := os.RemoveAll(filepath.Join(dir, ".git")); err != nil {
		b.Fatal(err)
	}
	b.Run("no-repository", func(b *testing.B) { peak(b, dir, program) })
}

func peak(b *testing.B, dir, program string, args ...string) {
	most := int64(0)
	for b.Loop() {
		cmd := exec.Command(program, append([]string{"snapshot", "--max-snapshot-size", "1GB"}, args...)...)
		cmd.Dir = dir
		var errs bytes.Buffer
		cmd.Stderr = &errs
		if err := cmd.Run(); err != nil {
			b.Fatal(errs.String())
		}
		most = max(most, cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss)
	}
	b.ReportMetric(float64(most)/1024, "peak-MB")
	b.ReportMetric(0, "ns/op")
}
