package pages_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"regexp"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/boltqueue"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/vault"
)

// large is a queue whose jobs all have a hundred builds. Their times and durations are hard to
// compress, and one in ten is not a success.
type large struct {
	buildtoken.Queue
	overviews map[string]queue.Overview
}

func (l *large) Overviews(_ context.Context, jobs []string) ([]queue.Overview, error) {
	all := make([]queue.Overview, len(jobs))
	for i, full := range jobs {
		all[i] = l.overviews[full]
	}
	return all, nil
}

// newLarge creates the history of n jobs, 20 in a folder.
func newLarge(n int) (*large, definition.Spec) {
	random := rand.New(rand.NewPCG(1, 2))
	results := []queue.Result{queue.Failure, queue.Failure, queue.Unstable, queue.Aborted}
	l, spec := &large{overviews: map[string]queue.Overview{}}, jobs()
	now := time.Date(2026, time.November, 28, 12, 0, 0, 0, time.UTC)
	for i := range n {
		if i%20 == 0 {
			spec.Root.Folders = append(spec.Root.Folders, definition.Folder{Name: fmt.Sprintf("service-%d", i/20)})
		}
		in := &spec.Root.Folders[i/20]
		j := at(fmt.Sprintf("component-%d", i), writes("x\n"))
		in.Jobs = append(in.Jobs, j)
		full := in.Name + "/" + j.Name
		o := queue.Overview{Lane: queue.Lane{Job: full, LastNumber: 100, LastEnded: 100, Queued: random.IntN(2)}, Oldest: 1, Summary: queue.Summary{Job: full}}
		for number := range int64(30) {
			result := queue.Success
			if random.IntN(10) == 0 {
				result = results[random.IntN(len(results))]
			}
			e := queue.Ended{Number: 100 - number, Result: result, Started: now.Add(-time.Duration(random.Int64N(int64(1000 * time.Hour)))), Took: time.Duration(random.Int64N(int64(time.Hour)))}
			o.Summary.Recent = append(o.Summary.Recent, e)
		}
		o.Lane.Last, o.Summary.Last = o.Summary.Recent[0].Result, o.Summary.Recent[:1]
		if o.Lane.Last == queue.Failure {
			o.Summary.StreakStart = o.Summary.Recent[0]
		}
		l.overviews[full] = o
	}
	return l, spec
}

func zipped(tb testing.TB, page []byte) int {
	tb.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(page); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return b.Len()
}

// A page of a thousand jobs stays small enough for a phone.
func TestPageOfAThousandJobsIsSmall(t *testing.T) {
	l, spec := newLarge(1000)
	onQueue(t, spec, func(q buildtoken.Queue) buildtoken.Queue { l.Queue = q; return l }, func(s *site) {
		page := s.page("/")
		if n := len(order(page)); n != 1000 {
			s.Errorf("%d jobs are listed, want 1000", n)
		}
		if n := zipped(s, []byte(page)); n > 40_000 {
			s.Errorf("the page has %d bytes compressed, %d as it is; want at most 40000", n, len(page))
		}
	})
}

// A tab that watches a thousand jobs receives little when builds come and go.
func TestStreamOfAThousandJobsIsSmall(t *testing.T) {
	const seconds = 10
	_, spec := newLarge(1000)
	onSite(t, spec, func(s *site) {
		out, _, stop := s.open("/queue/-/events/", "alice")
		defer stop()
		out.drain() // the whole list
		sent, events := 0, 0
		for i := range seconds {
			for j := range 3 {
				n := 3*i + j
				s.triggerIn(fmt.Sprintf("service-%d/component-%d", n, 20*n), "100ms")
			}
			s.settle()
			text := out.drain()
			sent, events = sent+len(text), events+strings.Count(text, "event: page")
		}
		if events < seconds || sent > seconds*50_000 {
			s.Errorf("%d bytes in %d events were sent in %d seconds, want at most %d in at least %[3]d", sent, events, seconds, seconds*50_000)
		}
	})
}

// While nothing changes, a tab that watches a thousand jobs costs little memory. A browser can
// have hundreds of tabs open over one connection.
func TestWaitingStreamOfAThousandJobsIsSmall(t *testing.T) {
	const streams, most = 20, 300_000 // bytes for each
	_, spec := newLarge(1000)
	onSite(t, spec, func(s *site) {
		open := func() {
			out, _, stop := s.open("/queue/-/events/", "alice")
			s.Cleanup(stop)
			if !strings.Contains(out.drain(), "component-999") {
				s.Error("the stream does not begin with the list")
			}
			out.mu.Lock()
			defer out.mu.Unlock()
			out.body = bytes.Buffer{}
		}
		open() // what all share is there now
		before := heap()
		for range streams {
			open()
		}
		if each := (heap() - before) / streams; each > most {
			s.Errorf("a stream keeps %d bytes, want at most %d", each, most)
		}
	})
}

// waiting is a queue whose overviews come when they are let go.
type waiting struct {
	buildtoken.Queue

	closed atomic.Bool
	asked  atomic.Int64
	gate   chan struct{}
}

func (w *waiting) Overviews(ctx context.Context, jobs []string) ([]queue.Overview, error) {
	if w.closed.Load() {
		w.asked.Add(1)
		select {
		case <-w.gate:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return w.Queue.Overviews(ctx, jobs)
}

// Pages of thousands of jobs are made few at a time, so that their parts do not fill the memory. All others
// wait, and searches in logs, which may take long, hold up none of them.
func TestPagesAreMadeFewAtATime(t *testing.T) {
	const clients, atOnce = 30, 8
	w := new(waiting)
	onQueue(t, tree(), func(q buildtoken.Queue) buildtoken.Queue { w.Queue, w.gate = q, make(chan struct{}); return w }, func(s *site) {
		w.closed.Store(true)
		statuses := make(chan int, clients)
		for range clients {
			go func() { statuses <- s.get("/", "alice").Code }()
		}
		synctest.Wait()
		if n := w.asked.Load(); n != atOnce {
			s.Errorf("%d pages are being made, want %d", n, atOnce)
		}
		for _, path := range []string{"/", "/rssAll"} {
			ctx, cancel := context.WithCancel(s.Context())
			gone := make(chan int)
			go func() {
				gone <- s.do(request(http.MethodGet, path, "alice", nil).WithContext(ctx)).Code //nolint:contextcheck // Serve takes the request's
			}()
			synctest.Wait()
			cancel()
			if status := <-gone; status != http.StatusServiceUnavailable { // a client that goes does not wait
				s.Errorf("GET %s of a client that goes = %d, want 503", path, status)
			}
		}
		close(w.gate)
		for range clients {
			if status := <-statuses; status != http.StatusOK {
				s.Errorf("a page = %d, want 200", status)
			}
		}
	})
}

// stuck is a client that takes nothing until it is let go.
type stuck struct {
	*httptest.ResponseRecorder
	gate chan struct{}
}

func (w *stuck) Write(p []byte) (int, error) {
	<-w.gate
	return w.ResponseRecorder.Write(p)
}

// Pages wait neither for clients that are slow to receive one, nor for pages that could not be made.
func TestSlowClientsAndErrorsHoldUpNoPages(t *testing.T) {
	const clients = 20
	var f faulty
	onQueue(t, tree(), func(q buildtoken.Queue) buildtoken.Queue { f.Queue = q; return &f }, func(s *site) {
		s.trigger("hello", nil)
		gate, done := make(chan struct{}), make(chan struct{}, 2*clients)
		for _, path := range []string{"/rssAll", "/job/hello/"} {
			for range clients {
				go func() {
					s.pages.Serve(&stuck{httptest.NewRecorder(), gate}, request(http.MethodGet, path, "alice", nil))
					done <- struct{}{}
				}()
			}
		}
		synctest.Wait()
		for _, path := range []string{"/rssAll", "/job/hello/rssAll", "/job/hello/"} {
			for range clients {
				f.calls.Store(0)
				f.bad.Store(1)
				if w := s.get(path, "alice"); w.Code != http.StatusInternalServerError {
					s.Errorf("GET %s = %d, want 500", path, w.Code)
				}
			}
			s.page(path)
		}
		close(gate)
		for range 2 * clients {
			<-done
		}
	})
}

// heap returns how many bytes are in use.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// All assets together stay small, compressed as Caddy sends them.
func TestAssetsAreSmall(t *testing.T) {
	onSite(t, tree(), func(s *site) {
		total := 0
		for _, link := range regexp.MustCompile(`="/ci(/queue/-/assets/[^"]+)"`).FindAllStringSubmatch(s.page("/"), -1) {
			total += zipped(s, s.get(link[1], "").Body.Bytes())
		}
		if total == 0 || total > 60_000 {
			s.Errorf("the assets have %d bytes compressed, want at most 60000", total)
		}
	})
}

// benchmarked returns the pages of a site, with a wrapper around its queue.
func benchmarked(b *testing.B, spec definition.Spec, around func(buildtoken.Queue) buildtoken.Queue) *served {
	b.Helper()
	dir := b.TempDir()
	q, err := boltqueue.Open(boltqueue.Options{Path: dir + "/queue.db"})
	if err != nil {
		b.Fatal(err)
	}
	ctl, err := buildtoken.Open(b.Context(), buildtoken.Options{Queue: around(q), Dir: dir, SealKey: vault.NewKey()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := ctl.Close(); err != nil {
			b.Error(err)
		}
	})
	def, err := definition.Compile(spec)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := ctl.Attach(b.Context(), buildtoken.Config{Sites: []*definition.Site{def}, Executors: 1, ShutdownTimeout: -1}); err != nil {
		b.Fatal(err)
	}
	return pagesOf(ctl, def, zap.NewNop())
}

// BenchmarkThousandJobs measures the page of a thousand jobs with a hundred builds each.
func BenchmarkThousandJobs(b *testing.B) {
	l, spec := newLarge(1000)
	site := benchmarked(b, spec, func(q buildtoken.Queue) buildtoken.Queue { l.Queue = q; return l })
	var w *httptest.ResponseRecorder
	b.ReportAllocs()
	for b.Loop() {
		w = httptest.NewRecorder()
		site.Serve(w, request(http.MethodGet, "/", "alice", nil))
	}
	if w.Code != http.StatusOK {
		b.Fatalf("%d %s", w.Code, w.Body)
	}
	b.ReportMetric(float64(w.Body.Len()), "bytes")
	b.ReportMetric(float64(zipped(b, w.Body.Bytes())), "zipped-bytes")
}
