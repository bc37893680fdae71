package history

import (
	"testing"
	"time"

	"github.com/org/aml-train/internal/hexid"
)

// BenchmarkLogBatch sends 100,000 metrics in batches of 1,000 over HTTP, as a
// training script does.
func BenchmarkLogBatch(b *testing.B) {
	s, err := Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	base, stop, err := NewServer(s, Access{Token: "secret"}).Serve("127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer stop()
	c := &Client{Base: base, HTTP: bearer("secret")}
	batch := make([]Metric, 1000)
	logged, start := 0, time.Now()
	for b.Loop() {
		id := hexid.New(32)
		newRun(b, s, id)
		for i := range 100 {
			for j := range batch {
				n := i*len(batch) + j
				batch[j] = Metric{Key: "loss", Value: Float(1 / float64(n+1)), Step: Int(n),
					Timestamp: Int(time.Now().UnixMilli())}
			}
			if err := c.call(b.Context(), "POST", "runs/log-batch", nil,
				map[string]any{"run_id": id, "metrics": batch}, nil); err != nil {
				b.Fatal(err)
			}
			logged += len(batch)
		}
	}
	b.ReportMetric(float64(logged)/time.Since(start).Seconds(), "metrics/s")
	b.ReportMetric(0, "ns/op")
}
