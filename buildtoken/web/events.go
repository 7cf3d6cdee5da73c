package web

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
	"unicode/utf8"
)

// heartbeat is how often a stream of events shows that it is still there. Proxies cut
// connections that are silent for 30 to 60 seconds.
const heartbeat = 15 * time.Second

// ErrClientGone is returned when the client is gone or too slow.
var ErrClientGone = errors.New("web: client is gone")

// Stream begins an answer with a content type, whose pieces are sent at once.
func (q *Request) Stream(contentType string) {
	SetAll(q.W.Header(), "Content-Type", contentType, "X-Accel-Buffering", "no") // a proxy should pass it on as it comes
	q.W.Streaming()
	q.W.WriteHeader(http.StatusOK)
	_ = q.W.FlushError() // a writer that cannot flush sends when it wants to
}

// Send sends a piece of a stream at once.
func (q *Request) Send(p []byte) error {
	if _, err := q.W.Write(p); err != nil {
		return fmt.Errorf("%w: %w", ErrClientGone, err)
	}
	if err := q.W.FlushError(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return fmt.Errorf("%w: %w", ErrClientGone, err)
	}
	return nil
}

// Events writes server-sent events. Its methods are safe for concurrent use.
type Events struct {
	q *Request

	// mu guards the following.
	mu  sync.Mutex
	buf bytes.Buffer
}

// Events begins an answer that consists of events. A heartbeat keeps the connection
// alive until ctx ends; end waits for it and must be called.
func (q *Request) Events(ctx context.Context) (e *Events, end func()) {
	e = &Events{q: q}
	q.Stream(typeEvents)
	ctx, cancel := context.WithCancel(ctx)
	var beats sync.WaitGroup
	beats.Go(func() { e.beat(ctx) }) // end waits for it
	return e, func() {
		cancel()
		beats.Wait()
	}
}

func (e *Events) beat(ctx context.Context) {
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if e.stillThere() != nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

func (e *Events) stillThere() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.q.Send([]byte(": still here\n\n"))
}

// Send writes one event; name and id are left out if they are empty. Lines of data end
// with LF, CR LF or CR. Send returns [ErrClientGone] if the client is gone or too slow.
func (e *Events) Send(name, id string, data []byte) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.buf.Reset()
	if name != "" {
		e.buf.WriteString("event: " + name + "\n")
	}
	if id != "" {
		e.buf.WriteString("id: " + id + "\n")
	}
	if !utf8.Valid(data) {
		data = bytes.ToValidUTF8(data, []byte("\uFFFD"))
	}
	// A bare CR would end a line of the protocol.
	if bytes.IndexByte(data, '\r') >= 0 {
		data = bytes.ReplaceAll(bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n")), []byte("\r"), []byte("\n"))
	}
	for line := range bytes.SplitSeq(data, []byte("\n")) {
		e.buf.WriteString("data: ")
		e.buf.Write(line)
		e.buf.WriteByte('\n')
	}
	e.buf.WriteByte('\n')
	err := e.q.Send(e.buf.Bytes())
	if e.buf.Cap() > pieceSize { // an idle stream should not keep the memory of a large event
		e.buf = bytes.Buffer{}
	}
	return err
}

// SendJSON writes one event whose data is JSON.
func (e *Events) SendJSON(name, id string, value any) error {
	return e.Send(name, id, []byte(encodeJSON(value)))
}

// Retry sets how long browsers wait before they reconnect.
func (e *Events) Retry(d time.Duration) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.q.Send(fmt.Appendf(nil, "retry: %d\n\n", d.Milliseconds()))
}
