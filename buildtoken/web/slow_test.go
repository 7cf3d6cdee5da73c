package web_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// wire provides connections without a buffer: if a client does not read, writes block at once.
type wire struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (w *wire) Accept() (net.Conn, error) {
	select {
	case c := <-w.conns:
		return c, nil
	case <-w.closed:
		return nil, net.ErrClosed
	}
}

func (w *wire) Close() error {
	close(w.closed)
	return nil
}

func (w *wire) Addr() net.Addr { return &net.TCPAddr{} }

// serveWire serves the site over connections, and counts the requests in progress.
func serveWire(t *testing.T, s *scenario) (dial func(request string) net.Conn, stop func()) {
	t.Helper()
	w := &wire{conns: make(chan net.Conn), closed: make(chan struct{})}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.api.Serve(w, r) })} //nolint:contextcheck // Serve takes the request's
	ended := make(chan error)
	go func() { ended <- srv.Serve(w) }()
	dial = func(request string) net.Conn {
		t.Helper()
		client, server := net.Pipe()
		w.conns <- server
		if _, err := io.WriteString(client, request); err != nil {
			t.Fatal(err)
		}
		return client
	}
	return dial, func() {
		t.Helper()
		// Wait for the requests in progress, as Caddy does.
		if err := srv.Shutdown(s.t.Context()); err != nil {
			t.Error(err)
		}
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
		time.Sleep(time.Minute) // net/http waits a little before it closes a connection
	}
}

// A reader of a live log that stops reading is disconnected. The build and the other readers
// continue meanwhile.
func TestReaderThatStopsIsDropped(t *testing.T) {
	for name, accept := range map[string]string{"as text": "*/*", "as events": "text/event-stream"} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(s *scenario) {
				dial, stop := serveWire(t, s)
				s.send(s.request([]string{"POST /buildByToken/build?job=plain&token=TacoTuesday&delay=0"}))
				follow := "GET /buildByToken/log?job=plain&token=LookAtMe&item=1 HTTP/1.1\r\nHost: x\r\nAccept: " + accept + "\r\n\r\n"
				stuck, reads := dial(follow), dial(follow)
				if _, err := stuck.Read(make([]byte, 10)); err != nil {
					t.Fatal(err)
				}
				got := make(chan string)
				go func() {
					resp, err := http.ReadResponse(bufio.NewReader(reads), nil)
					if err != nil {
						t.Error(err)
					}
					defer resp.Body.Close()
					text, err := io.ReadAll(resp.Body)
					if err != nil {
						t.Error(err)
					}
					got <- string(text)
				}()
				synctest.Wait()
				for range 100 {
					s.direct(`print plain#1 "` + strings.Repeat("a line of the log ", 500) + `\n"`)
				}
				time.Sleep(web.PieceTimeout + time.Second)
				synctest.Wait()
				// The client gets what was sent so far; the end of the connection shows that it
				// is incomplete.
				if _, err := io.Copy(io.Discard, stuck); err != nil {
					t.Errorf("the reader that stopped: %v, want the end", err)
				}
				s.direct(`print plain#1 "the last line\n"`)
				s.direct("finish plain#1 SUCCESS")
				// The next event continues where the last one ended, also within a line.
				text := regexp.MustCompile("\n\nid: [0-9]+\ndata: ").ReplaceAllString(<-got, "")
				if !strings.Contains(text, "the last line") || strings.Count(text, "a line of the log") != 100*500 {
					t.Errorf("the other reader got %d bytes, without all of the log", len(text))
				}
				_ = reads.Close() // it was read to the end
				stop()
			})
		})
	}
}

// Answers that are not streams do not delay shutdown either: the server stops soon although a
// client has requested a large log and reads none of it.
func TestReaderOfALogDoesNotHoldTheServer(t *testing.T) {
	for name, target := range map[string]string{
		"consoleText": "/job/plain/1/consoleText", "progressiveText": "/job/plain/1/logText/progressiveText", "the queue": "/queue/api/json",
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(s *scenario) {
				s.user = "reader"
				dial, stop := serveWire(t, s)
				s.send(s.request([]string{"POST /buildByToken/build?job=plain&token=TacoTuesday&delay=0"}))
				for range 100 {
					s.direct(`print plain#1 "` + strings.Repeat("a line of the log ", 500) + `\n"`)
				}
				for n := range 100 {
					s.send(s.request([]string{fmt.Sprintf("POST /buildByToken/buildWithParameters?job=params&token=TacoTuesday&A=%d&LINES=%s", n, strings.Repeat("y", 1000))}))
				}
				c := dial("GET " + target + " HTTP/1.1\r\nHost: x\r\n\r\n")
				defer c.Close()
				if _, err := c.Read(make([]byte, 1)); err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				close(s.done)
				stop()
				if took := time.Since(began) - time.Minute; took > 10*time.Second {
					t.Errorf("the server stopped after %v", took)
				}
			})
		})
	}
}

// A client that sends its body slowly gets an error, and nothing is queued.
func TestSlowBodyIsRefused(t *testing.T) {
	for name, head := range map[string]string{
		"a form":           "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\ntoken=TacoTues",
		"one byte":         "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 1\r\n\r\n",
		"multipart":        "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 100\r\n\r\n--b\r\n",
		"a webhook's JSON": "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{",
		"chunked":          "Content-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\r\n5\r\ntoken\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(s *scenario) {
				dial, stop := serveWire(t, s)
				c := dial("POST /buildByToken/build?job=plain HTTP/1.1\r\nHost: x\r\nX-Build-Token: TacoTuesday\r\n" + head)
				resp, err := http.ReadResponse(bufio.NewReader(c), nil)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				if text, err := io.ReadAll(resp.Body); resp.StatusCode != http.StatusRequestTimeout || err != nil {
					t.Errorf("got %s %q, %v, want 408", resp.Status, text, err)
				}
				if items, err := s.ctl.Items(s.t.Context(), s.api.Definition, "plain", 10); err != nil || len(items) != 0 {
					t.Errorf("items %v, %v, want none", items, err)
				}
				_ = c.Close() // the test reads no more
				stop()
			})
		})
	}
}
