package azureml

import (
	"sync/atomic"
	"time"

	"github.com/org/aml-train/internal/size"
)

// progress prints how far an upload is, every few seconds.
type progress struct {
	say         func(string, ...any)
	files, all  atomic.Int64
	bytes       atomic.Int64
	total       int64
	stop, ended chan struct{}
}

const progressEvery = 3 * time.Second

func (t *Target) progress(files int, total int64) *progress {
	p := &progress{say: t.say, total: total, stop: make(chan struct{}), ended: make(chan struct{})}
	p.all.Store(int64(files))
	go func() {
		defer close(p.ended)
		tick := time.NewTicker(progressEvery)
		defer tick.Stop()
		for {
			select {
			case <-p.stop:
				return
			case <-tick.C:
				p.say("Uploading: %d of %s, %s of %s", p.files.Load(), size.Count(int(p.all.Load()), "file"),
					size.Format(p.bytes.Load()),
					size.Format(p.total))
			}
		}
	}()
	return p
}

func (p *progress) add(bytes int64) {
	p.files.Add(1)
	p.bytes.Add(bytes)
}

func (p *progress) end() {
	close(p.stop)
	<-p.ended
}

func (t *Target) say(format string, args ...any) {
	if t.Say != nil {
		t.saying.Lock() // code, data and environment are sent at once
		defer t.saying.Unlock()
		t.Say(format, args...)
	}
}
