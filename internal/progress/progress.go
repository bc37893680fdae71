// Package progress answers: how far is a transfer?
package progress

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/org/aml-train/internal/size"
)

// tellEvery is how often people are told.
const tellEvery = 3 * time.Second

// Transfer counts what has been transferred. Both counts may be changed at once by several.
type Transfer struct{ Files, Bytes atomic.Int64 }

// Tell calls say every few seconds with how far a transfer of that many files and bytes is, such as
// "2 of 10 files, 1.20 MB of 4.00 MB", until done is called.
func (t *Transfer) Tell(files int, bytes int64, say func(far string)) (done func()) {
	return Every(tellEvery, func() { say(t.far(files, bytes)) })
}

func (t *Transfer) far(files int, bytes int64) string {
	return fmt.Sprintf("%d of %s, %s of %s", t.Files.Load(), size.Count(files, "file"), size.Format(t.Bytes.Load()),
		size.Format(bytes))
}

// Every calls something again and again, until done is called, after which it is not running.
func Every(d time.Duration, what func()) (done func()) {
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(d)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				what()
			}
		}
	}()
	return func() { close(stop); <-ended }
}
