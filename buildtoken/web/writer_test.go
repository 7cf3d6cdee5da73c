package web_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// network passes the server's end of pipes to it. Pipes have no buffer, so a peer that does not
// read blocks the other at once. Both are in a bubble of fake time.
type network struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (n *network) Accept() (net.Conn, error) {
	select {
	case c := <-n.conns:
		return c, nil
	case <-n.closed:
		return nil, net.ErrClosed
	}
}

func (n *network) Close() error {
	close(n.closed)
	return nil
}

func (n *network) Addr() net.Addr { return &net.TCPAddr{} }

func (n *network) dial() net.Conn {
	client, server := net.Pipe()
	n.conns <- server
	return client
}

// serve runs a server with one handler, whose writer is bounded.
func serveWriter(t *testing.T, srv *http.Server, done <-chan struct{}, handle func(w *web.Writer, r *http.Request)) *network {
	t.Helper()
	n := &network{conns: make(chan net.Conn), closed: make(chan struct{})}
	srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := web.NewWriter(w, r, done)
		defer p.End()
		handle(p, r)
	})
	ended := make(chan error)
	go func() { ended <- srv.Serve(n) }()
	t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
		time.Sleep(time.Minute) // net/http waits a little before it closes a connection
	})
	return n
}

// ask sends a request and leaves the answer unread.
func ask(t *testing.T, n *network, text string) net.Conn {
	t.Helper()
	c := n.dial()
	t.Cleanup(func() { _ = c.Close() }) // closing twice is allowed
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	return c
}

const get = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"

func TestClientThatTakesNothingIsGivenUp(t *testing.T) {
	for name, hurried := range map[string]bool{"after its patience": false, "soon, once the server waits for it": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				done, ended := make(chan struct{}), make(chan error, 1)
				n := serveWriter(t, &http.Server{}, done, func(w *web.Writer, _ *http.Request) {
					_, err := w.Write(make([]byte, 1<<20))
					ended <- err
				})
				began := time.Now()
				c := ask(t, n, get)
				if _, err := c.Read(make([]byte, 100)); err != nil { // the answer has begun
					t.Fatal(err)
				}
				synctest.Wait()
				want := 30 * time.Second // see docs/security.md
				if hurried {
					close(done)
					want = web.HurryTimeout
				}
				if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("Write: %v, want %v", err, os.ErrDeadlineExceeded)
				}
				if got := time.Since(began).Round(time.Second); got != want {
					t.Errorf("given up after %v, want %v", got, want)
				}
			})
		})
	}
}

func TestClientThatGoesOnTakingHasAllTheTime(t *testing.T) {
	for name, stops := range map[string]bool{"while the server runs": false, "while the server waits for it": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const size = 1 << 20
				done := make(chan struct{})
				n := serveWriter(t, &http.Server{}, done, func(w *web.Writer, _ *http.Request) {
					w.Header().Set("Content-Length", fmt.Sprint(size))
					_, _ = w.Write(make([]byte, size)) // an error is detected below
				})
				pause := web.PieceTimeout / 4 // a piece may be sent in several parts
				if stops {
					close(done)
					pause = web.HurryTimeout / 4
				}
				answer, err := http.ReadResponse(bufio.NewReaderSize(slowly{ask(t, n, get), pause}, 64<<10), nil)
				if err != nil {
					t.Fatal(err)
				}
				defer answer.Body.Close()
				if got, err := io.Copy(io.Discard, answer.Body); got != size || err != nil {
					t.Errorf("got %d bytes, %v, want %d", got, err, size)
				}
			})
		})
	}
}

// slowly waits before each read.
type slowly struct {
	net.Conn

	pause time.Duration
}

func (s slowly) Read(p []byte) (int, error) {
	time.Sleep(s.pause)
	return s.Conn.Read(p)
}

func TestBodyHasToComeInTime(t *testing.T) {
	for _, tt := range []struct {
		name  string
		head  string
		stops time.Duration // when the server begins to wait for its requests, never if 0
		want  time.Duration
	}{
		{"a small body", "Content-Length: 10\r\n", 0, 15 * time.Second}, // see docs/security.md
		{"a body of 64 KiB", "Content-Length: 65536\r\n", 0, web.BodyTimeout + time.Second},
		{"a body of 1 MiB has time in proportion", "Content-Length: 1048576\r\n", 0, web.BodyTimeout + 16*time.Second},
		{"a body of unknown length, as if it were large", "Transfer-Encoding: chunked\r\n", 0, web.BodyTimeout + 512*time.Second},
		{"a body of absurd length, not longer", "Content-Length: 999999999999\r\n", 0, web.BodyTimeout + 512*time.Second},
		{"a large body, once the server waits for it, as if it were small", "Content-Length: 1048576\r\n", 10 * time.Second, web.BodyTimeout + 10*time.Second},
		{"a body of unknown length, once the server waits for it", "Transfer-Encoding: chunked\r\n", 100 * time.Second, web.BodyTimeout + 100*time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				done, ended := make(chan struct{}), make(chan error, 1)
				n := serveWriter(t, &http.Server{}, done, func(_ *web.Writer, r *http.Request) {
					_, err := io.Copy(io.Discard, r.Body)
					ended <- err
				})
				began := time.Now()
				c := ask(t, n, "POST / HTTP/1.1\r\nHost: x\r\n"+tt.head+"\r\n")
				go func() { _, _ = io.Copy(io.Discard, c) }() // ends with the connection
				if tt.stops > 0 {
					time.Sleep(tt.stops)
					close(done)
				}
				if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("Read: %v, want %v", err, os.ErrDeadlineExceeded)
				}
				if got := time.Since(began).Round(time.Second); got != tt.want {
					t.Errorf("given up after %v, want %v", got, tt.want)
				}
			})
		})
	}
}

// A body that the handler does not read does not delay the server either.
func TestUnreadBodyDoesNotDelayTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := serveWriter(t, &http.Server{}, make(chan struct{}), func(w *web.Writer, _ *http.Request) {
			w.WriteHeader(http.StatusNotFound)
		})
		began := time.Now()
		c := ask(t, n, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
		if _, err := io.Copy(io.Discard, c); err != nil { // to the end of the connection
			t.Fatal(err)
		}
		if got := time.Since(began); got > 2*web.BodyTimeout {
			t.Errorf("the connection was held for %v", got)
		}
	})
}

// A handler that leaves the body answers before it comes, also if the server in front has
// replaced the body, as Caddy does.
func TestRefusalDoesNotWaitForTheBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := serveWriter(t, &http.Server{}, make(chan struct{}), func(w *web.Writer, r *http.Request) {
			r.Body = io.NopCloser(r.Body)
			w.LeaveBody()
			w.WriteHeader(http.StatusForbidden)
		})
		for _, head := range []string{"Content-Length: 1000", "Content-Length: 1000000", "Transfer-Encoding: chunked", "Content-Length: 1000\r\nExpect: 100-continue"} {
			began := time.Now()
			c := ask(t, n, "POST / HTTP/1.1\r\nHost: x\r\n"+head+"\r\n\r\n")
			answer, err := bufio.NewReader(c).ReadString('\n')
			if want := "HTTP/1.1 403 Forbidden\r\n"; err != nil || answer != want {
				t.Fatalf("%s: got %q, %v, want %q", head, answer, err, want)
			}
			if got := time.Since(began); got != 0 {
				t.Errorf("%s: the answer came after %v", head, got)
			}
			_ = c.Close() // closing twice is allowed
		}
	})
}

// Timeouts that the operator has set stay in force.
func TestTimeoutsOfTheServerHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		written := make(chan error, 1)
		n := serveWriter(t, &http.Server{ReadTimeout: time.Hour, WriteTimeout: time.Hour}, make(chan struct{}), func(w *web.Writer, r *http.Request) {
			_, err := io.Copy(io.Discard, r.Body)
			if err != nil {
				t.Error(err)
			}
			_, err = w.Write(make([]byte, 1<<20))
			written <- err
		})
		began := time.Now()
		c := ask(t, n, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n")
		time.Sleep(30 * time.Minute)
		if _, err := io.WriteString(c, "x"); err != nil {
			t.Fatal(err)
		}
		if err := <-written; !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) < time.Hour {
			t.Errorf("Write after %v: %v, want %v after %v", time.Since(began), err, os.ErrDeadlineExceeded, time.Hour)
		}
	})
}

// A writer without a connection, as in tests, works too.
func TestWriterWithoutDeadlines(t *testing.T) {
	rec := httptest.NewRecorder()
	w := web.NewWriter(rec, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader("x")), nil)
	w.BodyRead()
	written := 0
	for _, size := range []int{0, 1, 64 << 10, 64<<10 + 1, 200_000} {
		n, err := w.Write(make([]byte, size))
		if written += n; err != nil || n != size || rec.Body.Len() != written {
			t.Errorf("Write of %d bytes = %d, %v; the answer has %d bytes, want %d", size, n, err, rec.Body.Len(), written)
		}
	}
	if err := http.NewResponseController(w).Flush(); err != nil || !rec.Flushed {
		t.Errorf("Flush: %v, flushed %v", err, rec.Flushed)
	}
	if err := http.NewResponseController(w).SetWriteDeadline(time.Time{}); !errors.Is(err, http.ErrNotSupported) {
		t.Errorf("SetWriteDeadline: %v, want that of the writer below", err)
	}
	w.End()
}

// deadlines records the sizes of writes, and which of them have a deadline.
type deadlines struct {
	*httptest.ResponseRecorder

	set, setToRead  bool
	bounded, pieces []int
}

func (d *deadlines) SetReadDeadline(at time.Time) error {
	d.setToRead = !at.IsZero()
	return nil
}

func (d *deadlines) SetWriteDeadline(at time.Time) error {
	d.set = !at.IsZero()
	return nil
}

func (d *deadlines) Write(p []byte) (int, error) {
	if d.pieces = append(d.pieces, len(p)); d.set {
		d.bounded = append(d.bounded, len(p))
	}
	return d.ResponseRecorder.Write(p)
}

// An answer that fits into the buffers of the server costs no deadline. Each piece of a larger one
// has a deadline, and so has what is left in the buffers in the end.
func TestLargeAnswersHaveDeadlines(t *testing.T) {
	for _, tt := range []struct {
		writes          []int
		bounded, pieces []int
		inTheEnd        bool
	}{
		{[]int{2048}, nil, []int{2048}, false},
		{[]int{2049}, []int{2049}, []int{2049}, true},
		{[]int{1024, 1024, 1}, []int{1}, []int{1024, 1024, 1}, true},
		{[]int{65536}, []int{65536}, []int{65536}, true},
		{[]int{65537}, []int{65536, 1}, []int{65536, 1}, true},
	} {
		w := &deadlines{ResponseRecorder: httptest.NewRecorder()}
		p := web.NewWriter(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil), nil)
		for _, n := range tt.writes {
			if _, err := p.Write(make([]byte, n)); err != nil {
				t.Fatal(err)
			}
		}
		if err := http.NewResponseController(p).SetReadDeadline(time.Time{}); err != nil {
			t.Errorf("a deadline of the handler: %v, want that it is passed on", err)
		}
		if w.set {
			t.Errorf("writes of %v leave a deadline, which would end a stream that waits", tt.writes)
		}
		p.End()
		if diff := cmp.Diff([][]int{tt.pieces, tt.bounded}, [][]int{w.pieces, w.bounded}); diff != "" || w.set != tt.inTheEnd {
			t.Errorf("writes of %v: a deadline in the end: %v, want %v; pieces, and those with a deadline (-want +got):\n%s", tt.writes, w.set, tt.inTheEnd, diff)
		}
	}
}

// A server that begins to wait for its requests hurries no client that it does not wait for: over
// HTTP/2, a deadline that passes would end a stream in which nothing happens.
func TestIdleClientIsNotHurried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		done := make(chan struct{})
		w := &deadlines{ResponseRecorder: httptest.NewRecorder()}
		p := web.NewWriter(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(strings.Repeat("x", 100_000))), done)
		if !w.setToRead {
			t.Error("a large body has no deadline")
		}
		p.BodyRead()
		if w.setToRead {
			t.Error("a body that was read leaves a deadline")
		}
		if _, err := p.Write(make([]byte, 5000)); err != nil {
			t.Fatal(err)
		}
		close(done)
		synctest.Wait()
		if w.set || w.setToRead {
			t.Errorf("when the server waits, a client that is not slow has a deadline to read: %v, to write: %v", w.setToRead, w.set)
		}
		p.End()
	})
}

// A stream without events is not slow.
func TestIdleStreamLivesOn(t *testing.T) {
	for _, major := range []int{1, 2} {
		t.Run(fmt.Sprintf("HTTP/%d", major), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				protocols := new(http.Protocols)
				protocols.SetHTTP1(major == 1)
				protocols.SetUnencryptedHTTP2(major == 2)
				n := serveWriter(t, &http.Server{Protocols: protocols}, make(chan struct{}), func(w *web.Writer, r *http.Request) {
					for range 3 {
						if _, err := io.WriteString(w, strings.Repeat("x", 5000)); err != nil {
							t.Errorf("Write: %v", err)
						}
						if err := http.NewResponseController(w).Flush(); err != nil {
							t.Errorf("Flush: %v", err)
						}
						time.Sleep(time.Hour)
						if err := r.Context().Err(); err != nil {
							t.Errorf("the request ended: %v", err)
						}
					}
				})
				transport := &http.Transport{Protocols: protocols, DialContext: func(context.Context, string, string) (net.Conn, error) { return n.dial(), nil }}
				defer transport.CloseIdleConnections()
				// The request has a body, whose time limit must not apply after it.
				r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://x/", strings.NewReader("x=y"))
				if err != nil {
					t.Fatal(err)
				}
				answer, err := transport.RoundTrip(r)
				if err != nil {
					t.Fatal(err)
				}
				defer answer.Body.Close()
				if got, err := io.Copy(io.Discard, answer.Body); got != 15000 || err != nil || answer.ProtoMajor != major {
					t.Errorf("got %d bytes over HTTP/%d, %v, want 15000 over HTTP/%d", got, answer.ProtoMajor, err, major)
				}
			})
		})
	}
}
