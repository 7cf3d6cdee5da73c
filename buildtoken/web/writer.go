package web

import (
	"net/http"
	"sync"
	"time"
)

const (
	// pieceTimeout is how long a client may take for a piece of an answer.
	pieceTimeout = 30 * time.Second
	// hurryTimeout is the same once the server shuts down or reloads and waits for the client.
	hurryTimeout = time.Second
	// bodyTimeout is how long a client may take for a body, besides what its size needs.
	bodyTimeout = 15 * time.Second
)

const (
	// pieceSize is how much is written at once, in bytes.
	pieceSize = 64 << 10
	// small is the size of an answer that fits into buffers, so it never waits for its client.
	small = 2 << 10
	// slowest is the lowest allowed rate of a large body, in bytes a second.
	slowest = 64 << 10
	// largest is the size in bytes whose time applies to larger bodies too.
	largest = 32 << 20
)

// Writer is an [http.ResponseWriter] that bounds how long a client may take to send the
// body of its request, and to take each piece of the answer. A server that stops, or
// loads another configuration, waits for the requests that it is serving: a client that
// is slow without bound could keep it from that.
//
// A client that keeps reading has all the time that it needs, and a stream in which nothing
// happens is not slow. If the server has a timeout itself, that applies instead: ReadTimeout to
// the body, and WriteTimeout to the answer unless it is [Writer.Streaming].
//
// Calls of its methods must not overlap.
type Writer struct {
	http.ResponseWriter

	control *http.ResponseController
	done    <-chan struct{}
	writes  bool // this writer sets the deadlines of the answer, not the server
	written int  // bytes
	body    bool // the request has one, over HTTP/1

	ended chan struct{} // made by watchDone
	watch sync.WaitGroup

	// mu guards the following, which record what the server waits for.
	mu      sync.Mutex
	reading bool
	writing bool
}

// NewWriter begins a request. If the request has a body, its time starts now. done is closed
// when the server begins to wait for its requests; if it is nil, the server never hurries a
// client. The caller must call [Writer.End] when the request has been served.
func NewWriter(w http.ResponseWriter, r *http.Request, done <-chan struct{}) *Writer {
	srv, _ := r.Context().Value(http.ServerContextKey).(*http.Server)
	p := &Writer{ResponseWriter: w, done: done, writes: srv == nil || srv.WriteTimeout <= 0, body: r.ContentLength != 0 && r.ProtoMajor == 1}
	if size := r.ContentLength; size != 0 && (srv == nil || srv.ReadTimeout <= 0) {
		if size < 0 || size > largest {
			size = largest
		}
		p.control = http.NewResponseController(w)
		p.reading = true
		p.readUntil(time.Now().Add(bodyTimeout + time.Duration(size)*time.Second/slowest))
		if size > pieceSize {
			p.watchDone()
		}
	}
	return p
}

// BodyRead removes the time limit of the body, so that it does not apply to the next request
// on the same connection.
func (p *Writer) BodyRead() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reading {
		p.reading = false
		p.readUntil(time.Time{})
	}
}

// LeaveBody makes the answer not wait for the body of the request. The connection cannot be
// used again then. Without it, the server reads a part of the body before it answers.
func (p *Writer) LeaveBody() {
	if p.body {
		p.Header().Set("Connection", "close")
	}
}

// End ends what NewWriter began. The server may still have to send the rest of a large
// answer; the deadline for that is set here and stays.
func (p *Writer) End() {
	if p.ended != nil {
		close(p.ended)
		p.watch.Wait()
	}
	if p.writes && p.written > small {
		p.begin()
	}
}

// Streaming limits the time of each piece of the answer even if the server has a timeout
// for whole answers, because a stream may last as long as it likes.
func (p *Writer) Streaming() { p.writes = true }

// Unwrap returns the underlying writer, for [http.ResponseController].
func (p *Writer) Unwrap() http.ResponseWriter { return p.ResponseWriter }

// Write writes b in pieces. It returns an error if the client takes one of them too slowly,
// or is gone.
func (p *Writer) Write(b []byte) (n int, err error) {
	for len(b) > 0 && err == nil {
		piece := b[:min(len(b), pieceSize)]
		p.written += len(piece)
		bounded := p.written > small && p.writes
		if bounded {
			p.watchDone()
			p.begin()
		}
		var wrote int
		wrote, err = p.ResponseWriter.Write(piece)
		if bounded {
			p.relax()
		}
		n += wrote
		b = b[len(piece):]
	}
	return n, err
}

// FlushError implements the interface of [http.ResponseController]. It sends what is written
// so far.
func (p *Writer) FlushError() error {
	if p.writes {
		p.watchDone()
		p.begin()
		defer p.relax()
	}
	return http.NewResponseController(p.ResponseWriter).Flush()
}

// begin starts the time that the client may take.
func (p *Writer) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.writing = true
	if p.control == nil {
		p.control = http.NewResponseController(p.ResponseWriter)
	}
	select {
	case <-p.done:
		p.writeUntil(time.Now().Add(hurryTimeout))
	default:
		p.writeUntil(time.Now().Add(pieceTimeout))
	}
}

// relax removes the deadline. Over HTTP/2, a deadline that passes ends the stream, even
// while there is nothing to send.
func (p *Writer) relax() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.writing = false
	p.writeUntil(time.Time{})
}

// watchDone hurries the client when the server begins to wait for it.
func (p *Writer) watchDone() {
	if p.ended != nil || p.done == nil {
		return
	}
	p.ended = make(chan struct{})
	p.watch.Go(func() { // End waits for it
		select {
		case <-p.ended:
			return
		case <-p.done:
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.writing {
			p.writeUntil(time.Now().Add(hurryTimeout))
		}
		if p.reading {
			p.readUntil(time.Now().Add(bodyTimeout))
		}
	})
}

// readUntil and writeUntil set deadlines. Errors are ignored: without deadlines, as in a
// test, no client is slow.
func (p *Writer) readUntil(t time.Time)  { _ = p.control.SetReadDeadline(t) }
func (p *Writer) writeUntil(t time.Time) { _ = p.control.SetWriteDeadline(t) }

var _ http.ResponseWriter = (*Writer)(nil)
