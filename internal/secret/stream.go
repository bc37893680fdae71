package secret

import (
	"errors"
	"io"
	"sync"
)

// Writer takes the secrets out of what is written to w. The end of a write that may be
// the beginning of a secret waits for the next one, or for Flush. It is safe for use by
// several goroutines.
type Writer struct {
	mu   sync.Mutex
	w    io.Writer
	r    *Redactor
	held string
}

// NewWriter returns a writer to w.
func NewWriter(w io.Writer, r *Redactor) *Writer { return &Writer{w: w, r: r} }

// Write implements io.Writer.
func (w *Writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.held == "" && w.r.none() { // a flood of output costs no memory
		return w.w.Write(p)
	}
	var text string
	if text, w.held = w.r.redact(w.held+string(p), false); text == "" {
		return len(p), nil
	}
	if _, err := io.WriteString(w.w, text); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Flush writes what waits.
func (w *Writer) Flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	text := w.r.String(w.held)
	w.held = ""
	_, err := io.WriteString(w.w, text)
	return err
}

// Unwrap returns the writer behind this one.
func (w *Writer) Unwrap() io.Writer { return w.w }

// NewReader returns a reader of what f holds, without the secrets. It can be moved as f
// can be.
func NewReader(f io.ReadCloser, r *Redactor) io.ReadCloser {
	return &reader{f: f, r: r}
}

type reader struct {
	f     io.ReadCloser
	r     *Redactor
	raw   string // read, and not looked through to its end
	ready []byte // looked through
	err   error
}

func (r *reader) Read(p []byte) (int, error) {
	for len(r.ready) == 0 && r.err == nil {
		buf := make([]byte, 32<<10)
		var n int
		n, r.err = r.f.Read(buf)
		var text string
		text, r.raw = r.r.redact(r.raw+string(buf[:n]), r.err != nil)
		r.ready = []byte(text)
	}
	n := copy(p, r.ready)
	r.ready = r.ready[n:]
	if n == 0 {
		return 0, r.err
	}
	return n, nil
}

// Seek implements io.Seeker where the file does.
func (r *reader) Seek(offset int64, whence int) (int64, error) {
	s, ok := r.f.(io.Seeker)
	if !ok {
		return 0, errors.ErrUnsupported
	}
	r.raw, r.ready, r.err = "", nil, nil
	return s.Seek(offset, whence)
}

func (r *reader) Close() error { return r.f.Close() }
