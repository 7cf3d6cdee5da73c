package pages_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/buildtoken/buildtoken/buildtoken/web/pages"
)

// firstRead is a log that records the lowest offset from which it was read.
type firstRead struct {
	io.ReaderAt
	at int64
}

func (l *firstRead) ReadAt(p []byte, at int64) (int, error) {
	l.at = min(l.at, at)
	return l.ReaderAt.ReadAt(p, at)
}

// The second reader of a long log does not read it from its beginning, unless many others were
// read in between.
func TestPlacesInLogsAreKept(t *testing.T) {
	const row, apart, logs = 64, 256 << 10, 256
	text := strings.NewReader(strings.Repeat(strings.Repeat("x", row-1)+"\n", 3*apart/row))
	var index pages.RowIndex
	find := func(build, offset, want int64) (read int64) {
		t.Helper()
		log := firstRead{text, math.MaxInt64}
		if got, err := index.Find(t.Context(), &log, build, offset); got != want || err != nil {
			t.Errorf("offset %d of log %d is in the row at %d, %v; want %d", offset, build, got, err, want)
		}
		return log.at
	}
	if read := find(1, 3*apart-1, 3*apart-row); read != 0 {
		t.Errorf("the first reader reads from %d on", read)
	}
	for _, offset := range []int64{3*apart - 1, 2*apart + row, apart + row, 2 * apart} {
		want := offset / apart * apart
		if read := find(1, offset, offset/row*row); read != want && offset%apart != 0 {
			t.Errorf("to find %d, the log is read from %d on, want %d", offset, read, want)
		}
	}
	for build := range int64(logs - 1) {
		find(2+build, row, row)
	}
	if read := find(1, 3*apart-1, 3*apart-row); read == 0 {
		t.Errorf("after %d other logs, the log is read from its beginning", logs-1)
	}
	for build := range int64(logs) {
		find(1000+build, row, row)
	}
	if read := find(1, 3*apart-1, 3*apart-row); read != 0 {
		t.Errorf("after %d other logs, places in the log are still kept", logs)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("the reader has gone"))
	if _, err := index.Find(ctx, text, 9999, 3*apart-1); err == nil || err.Error() != "the reader has gone" {
		t.Errorf("a reader that has gone: %v", err)
	}
}

// Readers of a live log share its pieces, the last ones of which are kept.
func TestPiecesOfLogsAreShared(t *testing.T) {
	const most = 64
	var kept pages.Pieces
	rendered := 0
	get := func(to int64) {
		t.Helper()
		got, err := kept.Get(to, func() (string, error) {
			rendered++
			return fmt.Sprint("piece ", to), nil
		})
		if want := fmt.Sprint("piece ", to); got != want || err != nil {
			t.Errorf("piece %d is %q, %v", to, got, err)
		}
	}
	for range 2 {
		for to := range int64(most) {
			get(to)
		}
	}
	if rendered != most {
		t.Errorf("%d pieces were rendered for two readers, want %d", rendered, most)
	}
	get(most) // in place of the first one
	get(1)
	if rendered != most+1 {
		t.Errorf("the second piece was rendered again, %d in all", rendered)
	}
	get(0)
	if rendered != most+2 {
		t.Errorf("the first piece is kept, %d were rendered", rendered)
	}
	if _, err := kept.Get(-1, func() (string, error) { return "", errors.New("gone") }); err == nil {
		t.Error("an error is lost")
	}
	get(-1) // the error is not kept
	for to := range int64(most) {
		get(1000 + to)
	}
	get(1000) // neither does it take a place
	if rendered != most+2+1+most {
		t.Errorf("after an error, %d pieces were rendered, want %d", rendered, most+2+1+most)
	}
}

// Few logs are searched at a time. Other pages do not wait for that.
func TestSearchesWaitForEachOther(t *testing.T) {
	onSite(t, jobs(at("hello", writes("hello\n"))), func(s *site) {
		s.trigger("hello", nil)
		const atOnce = 2
		var leave func()
		for range atOnce {
			var err error
			if leave, err = s.pages.pages.EnterSearch(s.Context()); err != nil {
				s.Fatal(err)
			}
		}
		found := make(chan string)
		for range 20 {
			go func() { found <- foundIn(s.page("/job/hello/1/?q=hello")) }()
		}
		synctest.Wait()
		select {
		case <-found:
			s.Errorf("more than %d logs are searched at a time", atOnce)
		default:
		}
		s.holds(s.page("/job/hello/1/"), "hello")
		ctx, cancel := context.WithCancel(s.Context())
		gone := make(chan int)
		go func() {
			gone <- s.do(request(http.MethodGet, "/job/hello/1/?q=hello", "alice", nil).WithContext(ctx)).Code //nolint:contextcheck // Serve takes the request's
		}()
		synctest.Wait()
		cancel()
		if status := <-gone; status != http.StatusServiceUnavailable {
			s.Errorf("a reader who goes does not wait for the search: %d, want 503", status)
		}
		leave()
		for range 20 {
			if got := <-found; got != "Match 1 of 1" {
				s.Errorf("found %q", got)
			}
		}
	})
}
