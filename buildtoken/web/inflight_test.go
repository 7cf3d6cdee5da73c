package web_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// siteOf returns a site that sees a client, and shares its limits.
func siteOf(client string, shared *web.InFlight) *web.Site {
	return &web.Site{InFlight: shared, Remote: func(*http.Request) netip.Addr { return netip.MustParseAddr(client) }}
}

// holdBodies makes a client hold n bodies of 1 MiB in memory until the end of the test.
func holdBodies(t *testing.T, client string, shared *web.InFlight, n int) {
	t.Helper()
	text := "A=" + strings.Repeat("x", web.MaxBody-2)
	for range n {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(text))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		q := siteOf(client, shared).Request(httptest.NewRecorder(), r)
		t.Cleanup(q.Begin().End)
		f, err := q.ReadForm(web.FormOptions{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(f.Close)
	}
}

// stuck is a client that does not read.
type stuck struct {
	*httptest.ResponseRecorder

	waits, release chan struct{}
}

func (s stuck) Write(p []byte) (int, error) {
	s.waits <- struct{}{}
	<-s.release
	return s.ResponseRecorder.Write(p)
}

// A client that reads nothing keeps large answers in memory. One client cannot fill it, and all of
// them together cannot either.
func TestLargeAnswersHaveOneLimit(t *testing.T) {
	const each = 64 // answers of 1 MiB that one client may have
	shared := new(web.InFlight)
	large := make([]byte, 1<<20)
	answer := func(method, client string, w http.ResponseWriter, body []byte) {
		q := siteOf(client, shared).Request(w, httptest.NewRequest(method, "/", nil))
		defer q.Begin().End()
		q.WriteBytes(http.StatusOK, web.HTMLText, body)
	}
	status := func(method, client string, body []byte) int {
		w := httptest.NewRecorder()
		answer(method, client, w, body)
		return w.Code
	}
	waits, release, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
	hang := func(client string) {
		go func() {
			answer(http.MethodGet, client, stuck{httptest.NewRecorder(), waits, release}, large)
			ended <- struct{}{}
		}()
		<-waits
	}
	for i := range each { // from a /64, which is one client
		hang(fmt.Sprintf("2001:db8::%x", i))
	}
	if got := status(http.MethodGet, "2001:db8::ffff", large); got != http.StatusServiceUnavailable {
		t.Errorf("one large answer more of the client: got %d, want 503", got)
	}
	if got := status(http.MethodGet, "2001:db8::ffff", large[:1000]); got != http.StatusOK {
		t.Errorf("a small answer of the client: got %d, want 200", got)
	}
	if got := status(http.MethodHead, "2001:db8::ffff", large); got != http.StatusOK {
		t.Errorf("an answer without its body: got %d, want 200", got)
	}
	if got := status(http.MethodGet, "192.0.2.1", make([]byte, 65<<20)); got != http.StatusOK {
		t.Errorf("a very large answer of another client: got %d, want 200", got)
	}
	for range each {
		hang("192.0.2.1")
	}
	if got := status(http.MethodGet, "192.0.2.2", large); got != http.StatusServiceUnavailable {
		t.Errorf("one large answer more of a third client: got %d, want 503", got)
	}
	go func() { // the answers are written in pieces
		for range waits {
		}
	}()
	close(release)
	for range 2 * each {
		<-ended
	}
	close(waits)
	if got := status(http.MethodGet, "192.0.2.2", large); got != http.StatusOK {
		t.Errorf("after the others have ended: got %d, want 200", got)
	}
}

// Each stream takes memory and an open file, and a client of HTTP/2 can have hundreds over one
// connection.
func TestStreamsHaveOneLimit(t *testing.T) {
	const each = 2048 // streams that one client may have
	shared := new(web.InFlight)
	var all []func()
	enter := func(client string) error {
		leave, err := siteOf(client, shared).Request(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil)).EnterStream()
		if err == nil {
			all = append(all, leave)
		}
		return err
	}
	for _, client := range []string{"192.0.2.1", "192.0.2.2"} {
		for n := range each {
			if err := enter(client); err != nil {
				t.Fatalf("stream %d of %s: %v", n, client, err)
			}
		}
		if err := enter(client); web.VerdictOf(err).Status != http.StatusServiceUnavailable {
			t.Errorf("one stream more of %s: %v, want 503", client, err)
		}
	}
	for range each + 1 { // that it was refused does not count against it later
		if err := enter("192.0.2.3"); web.VerdictOf(err).Status != http.StatusServiceUnavailable {
			t.Fatalf("a stream of a third client: %v, want 503", err)
		}
	}
	for _, leave := range all {
		leave()
	}
	if err := enter("192.0.2.3"); err != nil {
		t.Errorf("after the others have ended: %v", err)
	}
}
