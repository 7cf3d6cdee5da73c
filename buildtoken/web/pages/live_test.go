package pages_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/boltqueue"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
	"github.com/buildtoken/buildtoken/buildtoken/vault"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// event is a server-sent event as it was received.
type event struct{ name, id, data string }

// take returns the events that have arrived since the last call.
func (s *streamed) take(t *testing.T) []event {
	t.Helper()
	var all []event
	for block := range strings.SplitSeq(s.drain(), "\n\n") {
		var e event
		for line := range strings.SplitSeq(block, "\n") {
			e.add(t, line)
		}
		if e.name != "" {
			all = append(all, e)
		}
	}
	return all
}

// add reads a line of an event.
func (e *event) add(t *testing.T, line string) {
	t.Helper()
	field, value, _ := strings.Cut(line, ": ")
	switch field {
	case "event":
		e.name = value
	case "id":
		e.id = value
	case "data":
		e.data += value
	case "", "retry":
	default:
		t.Errorf("line %q is no field", line)
	}
}

// names returns the short forms of the events: a page with its regions, a log with its text.
func names(t *testing.T, events []event) []string {
	t.Helper()
	var all []string
	for _, e := range events {
		text := e.name
		switch e.name {
		case "page":
			var page struct {
				Say     string
				Regions []struct {
					Name, Hash string
					HTML       *string
					Rows       []struct{ Key, HTML string }
					Gone       []string
					Keys       [][]string
				}
			}
			if err := json.Unmarshal([]byte(e.data), &page); err != nil {
				t.Fatal(err)
			}
			regions := 0
			for _, r := range page.Regions {
				if r.Name == "nav" { // it is on every page; TestNavigationCounts covers it
					continue
				}
				regions++
				text += " " + r.Name
				if r.Hash == "" || r.HTML == nil && r.Rows == nil && r.Gone == nil && r.Keys == nil {
					t.Errorf("region %s is empty", r.Name)
				}
			}
			if regions == 0 {
				continue
			}
			text += ": " + page.Say
		case "log":
			var log logEvent
			if err := json.Unmarshal([]byte(e.data), &log); err != nil {
				t.Fatal(err)
			}
			text += fmt.Sprintf(" %d-%d %q", log.From, log.To, textOf(t, log.HTML))
			if log.Rest != "" {
				text += fmt.Sprintf(" + %q", textOf(t, log.Rest))
			}
			if log.Reset {
				text += " reset"
			}
			if !strings.HasPrefix(e.id, fmt.Sprintf("%d.", log.To)) {
				t.Errorf("id %s of an event to %d", e.id, log.To)
			}
		default:
			text += " " + e.data
		}
		all = append(all, text)
	}
	return all
}

type logEvent struct {
	From, To   int64
	HTML, Rest string
	Reset      bool
}

func (s *site) streams(out *streamed, want ...string) {
	s.Helper()
	synctest.Wait()
	if diff := cmp.Diff(want, names(s.T, out.take(s.T)), cmp.Transformer("none", func(a []string) string { return strings.Join(a, "\n") })); diff != "" {
		s.Errorf("events (-want +got):\n%s", diff)
	}
}

func TestQueueIsFollowed(t *testing.T) {
	onSite(t, tree(), func(s *site) {
		out, _, stop := s.open("/queue/-/events/queue/", "alice")
		defer stop()
		if out.header.Get("Content-Type") != "text/event-stream" || out.header.Get("Cache-Control") != "no-store" {
			s.Errorf("headers %v", out.header)
		}
		s.streams(out, "page queue: 0 items queued")
		delay := "10s"
		s.triggerIn("app/deploy", delay)
		s.streams(out)
		time.Sleep(250 * time.Millisecond)
		s.streams(out, "page queue: 1 item queued")
		time.Sleep(10 * time.Second) // it starts when it is due
		s.streams(out, "page queue: 0 items queued")
		s.triggerIn("app/deploy", delay)
		time.Sleep(time.Second)
		s.streams(out, "page queue: 1 item queued")
		time.Sleep(10 * time.Second) // the first build is still running, so now it is blocked, without a write
		s.streams(out, "page queue: 1 item queued")
		if s.page("/queue/") == "" {
			s.Error("no page")
		}
	})
}

// TestChangeOfOneRowSendsOneRow verifies that a page of many jobs is cheap to follow.
func TestChangeOfOneRowSendsOneRow(t *testing.T) {
	spec := tree()
	for i := range 300 {
		spec.Root.Jobs = append(spec.Root.Jobs, at(fmt.Sprintf("many-%d", i), spec.Root.Jobs[0].Runner))
	}
	onSite(t, spec, func(s *site) {
		html := s.page("/")
		_, hash, _ := strings.Cut(html, `data-region="jobs" data-hash="`)
		hash, _, _ = strings.Cut(hash, `"`)
		out, _, stop := s.open("/queue/-/events/?has=jobs:"+hash, "alice")
		defer stop()
		s.streams(out) // the client has the whole list
		s.triggerIn("many-7", "1h")
		time.Sleep(time.Second)
		synctest.Wait()
		text := out.drain()
		if len(text) > 2048 || !strings.Contains(text, "many-7") {
			s.Errorf("one job of 300 has changed: %d bytes were sent, want at most 2048 with that job:\n%.3000s", len(text), text)
		}
	})
}

func TestStreamNeedsAPlaceAmongTheStreams(t *testing.T) {
	onSite(t, tree(), func(s *site) {
		s.pages.site.InFlight = new(web.InFlight)
		for err := error(nil); err == nil; {
			_, err = s.pages.site.Request(nil, request(http.MethodGet, "/", "alice", nil)).EnterStream()
		}
		if w := s.get("/queue/-/events/", "alice"); w.Code != http.StatusServiceUnavailable {
			s.Errorf("a stream more than there can be = %d, want 503", w.Code)
		}
		if w := s.get("/", "alice"); w.Code != http.StatusOK {
			s.Errorf("a page = %d, want 200", w.Code)
		}
	})
}

func TestManyChangesMakeFewEvents(t *testing.T) {
	onSite(t, tree(), func(s *site) {
		out, _, stop := s.open("/queue/-/events/queue/", "alice")
		defer stop()
		s.streams(out, "page queue: 0 items queued")
		s.triggerIn("hello", "1h")
		for range 20 {
			s.triggerIn("app/deploy", "2h")
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(time.Second)
		s.streams(out, "page queue: 2 items queued")
	})
}

func (s *site) triggerIn(full, delay string) {
	s.Helper()
	r := request(http.MethodPost, "/job/"+strings.ReplaceAll(full, "/", "/job/")+"/buildForm", "alice", map[string][]string{"delay": {delay}})
	if w := s.do(r); w.Code != http.StatusSeeOther {
		s.Fatalf("trigger = %d", w.Code)
	}
	synctest.Wait()
}

func TestItemTurnsIntoItsBuild(t *testing.T) {
	onSite(t, tree(), func(s *site) {
		s.triggerIn("hello", "10s")
		out, ended, stop := s.open("/queue/-/events/queue/item/1/", "rita")
		defer stop()
		s.streams(out, "page item: Item 1: Quiet period. In the quiet period")
		time.Sleep(11 * time.Second)
		<-ended
		s.streams(out, `go "/ci/job/hello/1/"`)
	})
}

func TestCancelledItemIsTheEnd(t *testing.T) {
	onSite(t, tree(), func(s *site) {
		s.triggerIn("hello", "10s")
		out, ended, stop := s.open("/queue/-/events/queue/item/1/", "rita")
		defer stop()
		s.post("/queue/item/1/cancelForm", "alice", nil)
		time.Sleep(time.Second)
		<-ended
		s.streams(out, "page item: Item 1: Quiet period. In the quiet period", "page item: Item 1: Cancelled. ", "done null")
	})
}

func TestBuildIsFollowedToItsEnd(t *testing.T) {
	var more chan string
	r := run(func(_ context.Context, _ runner.Build, log io.Writer) runner.Result {
		for text := range more {
			_, _ = io.WriteString(log, text)
		}
		return runner.Result{Outcome: runner.Success}
	})
	onSite(t, jobs(at("hello", r)), func(s *site) {
		more = make(chan string) // of the bubble
		s.trigger("hello", nil)
		const cause = "Started by user alice with note: push\n" // 38 bytes
		out, ended, stop := s.open("/queue/-/events/job/hello/1/?start=8", "alice")
		defer stop()
		events := out.take(s.T)
		if len(events) != 2 {
			s.Fatalf("%v, want page and log", events)
		}
		got := strings.Join(names(s.T, events), "\n")
		s.holds(got, "page buildhead: Build #1: Running", fmt.Sprintf("log 0-38 %q", cause)) // whole lines
		more <- "on\xe2"
		time.Sleep(time.Second)
		s.streams(out, `log 38-38 "" + "on"`) // the rest of the character must arrive first
		more <- "\x82\xac\nbad \xff byte"
		time.Sleep(time.Second)
		s.streams(out, `log 38-44 "on€\n" + "bad `+"\uFFFD"+` byte"`)

		// Another connection continues where the last one ended.
		again, _, stopAgain := s.open("/queue/-/events/job/hello/1/?start=8", "alice", "Last-Event-ID", "44.3.")
		defer stopAgain()
		s.holds(strings.Join(names(s.T, again.take(s.T)), "\n"), `log 44-44 "" + "bad `)

		close(more)
		time.Sleep(time.Second)
		<-ended
		s.streams(out, `log 44-73 "bad `+"\uFFFD"+` byte\nFinished: SUCCESS\n"`, "page buildhead: Build #1: Success", "done null")
	})
}

// TestBuildIsFollowedBeforeItIsResumed opens a page after a restart, at the instant before the runner of its build
// continues: then nothing writes the log, as if it were complete.
func TestBuildIsFollowedBeforeItIsResumed(t *testing.T) {
	relayed := remote{func(ctx context.Context, b runner.Build, log io.Writer) runner.Result {
		if b.Handle != nil {
			_, _ = io.WriteString(log, "the rest\n")
			return runner.Result{Outcome: runner.Success}
		}
		_, _ = io.WriteString(log, "begun\nha")
		if err := b.Save([]byte("handle")); err != nil {
			return runner.Result{Outcome: runner.Failure, Reason: err.Error()}
		}
		<-ctx.Done()
		return runner.Result{Outcome: runner.Aborted, Reason: context.Cause(ctx).Error()}
	}}
	onSite(t, jobs(at("far", relayed)), func(s *site) {
		s.trigger("far", nil)
		if err := s.ctl.Close(); err != nil {
			s.Fatal(err)
		}
		q, err := boltqueue.Open(boltqueue.Options{Path: filepath.Join(s.dir, "queue.db")})
		if err != nil {
			s.Fatal(err)
		}
		resume := make(chan struct{})
		core, _ := observer.New(zap.InfoLevel)
		log := zap.New(core, zap.Hooks(func(e zapcore.Entry) error {
			if e.Message == "build resumed" {
				<-resume
			}
			return nil
		}))
		ctl, err := buildtoken.Open(s.Context(), buildtoken.Options{Queue: q, Dir: s.dir, SealKey: vault.NewKey(), Log: log})
		if err != nil {
			s.Fatal(err)
		}
		defer func() {
			if err := ctl.Close(); err != nil {
				s.Error(err)
			}
		}()
		if _, err := ctl.Attach(s.Context(), buildtoken.Config{Sites: []*definition.Site{s.def}, Log: log}); err != nil {
			s.Fatal(err)
		}
		s.ctl, s.pages = ctl, pagesOf(ctl, s.def, zap.NewNop())
		s.lacks(s.page("/job/far/1/"), "data-complete")
		out, ended, stop := s.open("/queue/-/events/job/far/1/", "alice")
		defer stop()
		s.holds(strings.Join(names(s.T, out.take(s.T)), "\n"), "begun\\n\" + \"ha\"")
		select {
		case <-ended:
			s.Error("the stream ended before the build")
		default:
		}
		close(resume)
		time.Sleep(time.Second)
		<-ended
		got := regexp.MustCompile(`"\nlog \d+-\d+ "`).ReplaceAllString(strings.Join(names(s.T, out.take(s.T)), "\n"), "") // as one piece
		s.holds(got, `"ha\nResumed after a restart of the server\nthe rest\nFinished: SUCCESS\n"`, "page buildhead: Build #1: Success", "done null")
	})
}

// A page whose log cannot be read says so, and does not show a part of it as if it were all.
func TestLogThatCannotBeReadIsAnError(t *testing.T) {
	onSite(t, jobs(at("hello", hangs(strings.Repeat("0123456789abcde\n", 20_000)))), func(s *site) {
		s.trigger("hello", nil)
		// Another program truncates the file, as if a disk could read only its beginning.
		if err := os.Truncate(filepath.Join(s.dir, "logs", job.PathElement("hello"), "1.log"), 290_000); err != nil {
			s.Fatal(err)
		}
		for _, path := range []string{"/job/hello/1/", "/job/hello/1/?at=200000", "/job/hello/1/?at=300000", "/job/hello/1/?q=0123456789", "/queue/-/log/job/hello/1?after=90000", "/queue/-/log/job/hello/1?after=300000"} {
			if w := s.get(path, "alice"); w.Code != http.StatusInternalServerError {
				s.Errorf("GET %s = %d, want 500", path, w.Code)
			}
		}
		unreadable := func(start string) (sent string) {
			s.Helper()
			out, ended, stop := s.open("/queue/-/events/job/hello/1/?start="+start, "alice")
			select {
			case <-ended: // the browser connects again
			default:
				s.Errorf("from %s: the stream waits for a log that cannot be read", start)
			}
			stop()
			if sent = out.drain(); strings.Contains(sent, "event: done") {
				s.Errorf("from %s: the stream claims to be complete", start)
			}
			if got := s.logs.TakeAll(); got[len(got)-1].Message != "log could not be sent to its end" {
				s.Errorf("from %s: the log has %v", start, got)
			}
			return sent
		}
		for start, some := range map[string]bool{"0": true, "100000": true, "300000": false, "-1": false} {
			if sent := unreadable(start); strings.Contains(sent, "event: log") != some {
				s.Errorf("from %s: a part of the log was sent: %v, want %v", start, !some, some)
			}
		}
		// Now the end cannot even be found.
		if err := os.Truncate(filepath.Join(s.dir, "logs", job.PathElement("hello"), "1.log"), 50_000); err != nil {
			s.Fatal(err)
		}
		s.lacks(unreadable("-1"), "event: log")
	})
}

func TestEndedBuildIsStreamedOnDemand(t *testing.T) {
	long := strings.Repeat("0123456789abcde\n", 90_000) // 1.4 MB
	onSite(t, jobs(at("hello", writes(long))), func(s *site) {
		s.trigger("hello", nil)
		for _, start := range []string{"-1", "0"} { // the end, and a place so far behind that the end is sent too
			out, ended, stop := s.open("/queue/-/events/job/hello/1/?start="+start, "alice")
			<-ended
			stop()
			next, text := int64(-1), ""
			for i, e := range out.take(s.T) {
				if e.name != "log" {
					continue
				}
				var log logEvent
				if err := json.Unmarshal([]byte(e.data), &log); err != nil {
					s.Fatal(err)
				}
				if log.Reset != (next < 0) || (next >= 0 && log.From != next) {
					s.Fatalf("event %d is %d to %d, reset %v, after %d", i, log.From, log.To, log.Reset, next)
				}
				next = log.To
				text += textOf(s.T, log.HTML)
			}
			if !strings.HasPrefix(text, "0123456789abcde\n0") || !strings.HasSuffix(text, "Finished: SUCCESS\n") || strings.Count(text, "\n") != 5000 {
				s.Errorf("from %s: %d bytes, %.20q … %q", start, len(text), text, text[max(len(text)-20, 0):])
			}
		}
	})
}

// A client gets all of a log that a browser can show.
func TestStreamSendsAllOfALogThatIsNotTooLong(t *testing.T) {
	// With its first and last lines of 38 and 18 bytes, the log has 1 MiB.
	const rows = (1<<20 - 38 - 18) / 40
	onSite(t, jobs(at("hello", writes(strings.Repeat("0123456789012345678901234567890123456789\n"[1:], rows)))), func(s *site) {
		s.trigger("hello", nil)
		out, ended, stop := s.open("/queue/-/events/job/hello/1/?start=0", "alice")
		<-ended
		stop()
		lines, pieces := 0, 0
		for _, e := range out.take(s.T) {
			if e.name != "log" {
				continue
			}
			var log logEvent
			if err := json.Unmarshal([]byte(e.data), &log); err != nil {
				s.Fatal(err)
			}
			if log.Reset {
				s.Errorf("the event from %d skips a part of the log", log.From)
			}
			lines += strings.Count(log.HTML, "\n")
			pieces++
		}
		if pieces != 32 {
			s.Errorf("%d events, want one for each 32 KiB", pieces)
		}
		if lines != rows+2 {
			s.Errorf("%d lines, want %d", lines, rows+2)
		}
	})
}

func TestStreamEnds(t *testing.T) {
	t.Run("with the configuration", func(t *testing.T) {
		onSite(t, tree(), func(s *site) {
			done := make(chan struct{})
			s.pages.site.Done = done
			s.trigger("app/deploy", nil)
			_, ended, stop := s.open("/queue/-/events/job/app/job/deploy/1/", "alice")
			defer stop()
			close(done)
			<-ended
		})
	})
	t.Run("with the client", func(t *testing.T) {
		onSite(t, tree(), func(s *site) {
			s.trigger("app/deploy", nil)
			_, ended, stop := s.open("/queue/-/events/job/app/job/deploy/1/", "alice")
			stop()
			<-ended
			if s.logs.Len() > 0 {
				s.Errorf("%d lines in the log, want none", s.logs.Len())
			}
		})
	})
	t.Run("with a client that takes nothing", func(t *testing.T) {
		onSite(t, tree(), func(s *site) {
			s.trigger("app/deploy", nil)
			r := request(http.MethodGet, "/queue/-/events/job/app/job/deploy/1/", "alice", nil)
			s.pages.Serve(&broken{httptest.NewRecorder()}, r) // returns
			if s.logs.Len() > 0 {
				s.Errorf("%d lines in the log, want none", s.logs.Len())
			}
		})
	})
	t.Run("not before what is being written", func(t *testing.T) {
		onSite(t, jobs(at("busy", hangs("hello\n"))), func(s *site) {
			done := make(chan struct{})
			s.pages.site.Done = done
			s.trigger("busy", nil)
			var has []string // all regions, so that only the log is sent
			for _, m := range regexp.MustCompile(` data-region="([a-z]+)" data-hash="([0-9a-f]+)"`).FindAllStringSubmatch(s.page("/job/busy/1/"), -1) {
				has = append(has, m[1]+":"+m[2])
			}
			client := &stuckAt{httptest.NewRecorder(), "event: log", make(chan struct{})}
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				s.pages.Serve(client, request(http.MethodGet, "/queue/-/events/job/busy/1/?has="+strings.Join(has, ","), "alice", nil))
			}()
			synctest.Wait()
			close(done)
			synctest.Wait()
			select {
			case <-ended:
				s.Error("the answer ends while a part of it is written")
			default:
			}
			close(client.gate)
			<-ended
		})
	})
	for _, kind := range []string{"page", "log"} {
		t.Run("with a client that goes at an event "+kind, func(t *testing.T) {
			onSite(t, jobs(at("busy", hangs("hello\n"))), func(s *site) {
				s.trigger("busy", nil)
				ctx, cancel := context.WithCancel(s.Context())
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					r := request(http.MethodGet, "/queue/-/events/job/busy/1/", "alice", nil)
					s.pages.Serve(&leaver{httptest.NewRecorder(), "event: " + kind}, r.WithContext(ctx)) //nolint:contextcheck // it takes the request's
				}()
				synctest.Wait()
				select {
				case <-ended:
				default:
					s.Error("the stream goes on")
				}
				cancel()
				<-ended
			})
		})
	}
	t.Run("sends a sign of life from time to time", func(t *testing.T) {
		onSite(t, tree(), func(s *site) {
			out, _, stop := s.open("/queue/-/events/queue/", "alice")
			defer stop()
			if got := out.drain(); !strings.HasPrefix(got, "retry: 2000\n") {
				s.Errorf("the stream begins with %.40q", got)
			}
			time.Sleep(21 * time.Second)
			synctest.Wait()
			if got := out.drain(); got != ": still here\n\n" {
				s.Errorf("after 21 s: %q", got)
			}
		})
	})
	t.Run("when the page no longer exists", func(t *testing.T) {
		onSite(t, tree(), func(s *site) {
			w := s.get("/queue/-/events/job/hello/9/", "alice")
			if w.Code != http.StatusNotFound || w.Header().Get("Content-Type") == "text/event-stream" {
				s.Errorf("events of no build = %d %s", w.Code, w.Header().Get("Content-Type"))
			}
		})
	})
}

type broken struct{ *httptest.ResponseRecorder }

func (*broken) Write([]byte) (int, error) { return 0, errors.New("gone") }

// stuckAt is a client that does not receive a text until it is let go.
type stuckAt struct {
	*httptest.ResponseRecorder
	text string
	gate chan struct{}
}

func (c *stuckAt) Write(p []byte) (int, error) {
	if strings.Contains(string(p), c.text) {
		<-c.gate
	}
	return len(p), nil
}

// leaver is a client that goes when it receives a text.
type leaver struct {
	*httptest.ResponseRecorder
	text string
}

func (l *leaver) Write(p []byte) (int, error) {
	if strings.Contains(string(p), l.text) {
		return 0, errors.New("gone")
	}
	return len(p), nil
}

func TestLogPart(t *testing.T) {
	onSite(t, jobs(at("hello", writes("one\n\x1b[1mtwo\nthree"))), func(s *site) {
		s.trigger("hello", nil)
		const cause, last = "Started by user alice with note: push\n", "Finished: SUCCESS\n" // 38 and 18 bytes
		for _, tt := range []struct{ query, want, place string }{
			{"", cause + "one\ntwo\nthree\n" + last, "74.6.1"},
			{"?after=0", cause + "one\ntwo\nthree\n" + last, "74.6.1"},
			{"?after=38", "one\ntwo\nthree\n" + last, "74.6.1"},
			{"?before=42", cause + "one\n", "42.3."},
			{"?before=50", cause + "one\ntwo\n", "50.4.1"},
			{"?before=0", "", "0.1."},
			{"?after=74", "", "74.6.1"},
			{"?after=99999", "", "74.6.1"},
			{"?after=4611686018427387903", "", "74.6.1"}, // 2^62 - 1
		} {
			w := s.get("/queue/-/log/job/hello/1"+tt.query, "alice")
			var got struct {
				From, To, Size int64
				Place, HTML    string
			}
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
				s.Fatalf("%s = %d %s: %v", tt.query, w.Code, w.Body, err)
			}
			if text := textOf(s.T, got.HTML); text != tt.want || got.Place != tt.place || got.To-got.From != int64(len(tt.want))+4*int64(strings.Count(tt.want, "two")) || got.Size != 74 {
				s.Errorf("%s = %q %+v, want %q to %s", tt.query, text, got, tt.want, tt.place)
			}
		}
		for _, query := range []string{"?after=x", "?before=-5", "?before=99999999999999999999", "?after=4611686018427387904"} {
			if w := s.get("/queue/-/log/job/hello/1"+query, "alice"); w.Code != http.StatusBadRequest {
				s.Errorf("%s = %d, want 400", query, w.Code)
			}
		}
	})
}

func TestLogIsDownloadedWithAGoodName(t *testing.T) {
	spec := jobs()
	spec.Root.Folders = []definition.Folder{{Name: "my site", Jobs: []definition.Job{at("größe (1)", writes(""))}}}
	onSite(t, spec, func(s *site) {
		s.trigger("my site/größe (1)", nil)
		s.holds(s.page("/job/my%20site/job/gr%C3%B6%C3%9Fe%20(1)/1/"),
			`<a href="/ci/job/my%20site/job/gr%C3%B6%C3%9Fe%20%281%29/1/consoleText?ansi=none" download="my-site-größe--1--1.log">Download</a>`)
	})
}

func TestRowsHaveTheirTimes(t *testing.T) {
	slow := run(func(_ context.Context, _ runner.Build, log io.Writer) runner.Result {
		for _, text := range []string{"one\n", "two\nthr", "ee\n::group::<b>\n"} {
			_, _ = io.WriteString(log, text)
			time.Sleep(1500 * time.Millisecond)
		}
		return runner.Result{Outcome: runner.Success}
	})
	onSite(t, jobs(at("hello", slow)), func(s *site) {
		s.trigger("hello", nil)
		out, ended, stop := s.open("/queue/-/events/job/hello/1/", "alice")
		defer stop()
		<-ended
		live := out.drain()
		page := s.page("/job/hello/1/")
		rows := regexp.MustCompile(`<span class="l[a-z ]*" data-t="(\d+)"><a [^>]*></a>(.)`).FindAllStringSubmatch(page, -1)
		var got []string
		for _, row := range rows {
			got = append(got, row[1]+row[2])
		}
		if want := []string{"0S", "0o", "1500t", "1500t", "3000<", "4500F"}; !slices.Equal(got, want) {
			s.Errorf("times and beginnings of rows: %v, want %v", got, want)
		}
		s.holds(page, `<span class="l fold group" data-t="3000">`, `</a><span class="tag">::group::</span>&lt;b&gt;`)
		for _, row := range rows {
			if !strings.Contains(live, strings.ReplaceAll(row[0], `"`, `\"`)) {
				s.Errorf("%s did not come live", row[0])
			}
		}
	})
}

func TestPageHasTheEndOfALongLog(t *testing.T) {
	var b strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&b, "line %d %s\n", i, strings.Repeat("x", 100))
	}
	onSite(t, jobs(at("hello", writes(b.String()))), func(s *site) {
		s.trigger("hello", nil)
		page := s.page("/job/hello/1/")
		s.holds(page, "line 99999 ", "Finished: SUCCESS", "before this", "10.4 MiB", "Show earlier")
		s.lacks(page, "line 97000 ")
		if len(page) > 600<<10 {
			s.Errorf("the page has %d bytes", len(page))
		}
	})
}

// One page, and one request of the script, brings so many rows of short lines.
func TestPageHasSoManyRows(t *testing.T) {
	var b strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&b, "%05d\n", i)
	}
	onSite(t, jobs(at("hello", writes(b.String()))), func(s *site) {
		s.trigger("hello", nil)
		const begin = 38 // where the text of the build begins
		for _, tt := range []struct {
			path, first, last string
			rows              int
		}{
			{"/job/hello/1/", "15001", "Finished: SUCCESS", 5000},
			{fmt.Sprintf("/job/hello/1/?at=%d", begin+6*10_000), "09000", "13999", 5000},
			{fmt.Sprintf("/job/hello/1/?at=%d", begin+6*500), "Started by user alice with note: push", "04998", 5000},
			{fmt.Sprintf("/job/hello/1/?at=%d", begin+6*19_500), "18500", "Finished: SUCCESS", 1501},
			{"/job/hello/1/?q=10000", "09000", "13999", 5000},
			{fmt.Sprintf("/queue/-/log/job/hello/1?before=%d", begin+6*10_000), "07500", "09999", 2500},
			{fmt.Sprintf("/queue/-/log/job/hello/1?after=%d", begin+6*10_000), "10000", "12499", 2500},
			{fmt.Sprintf("/queue/-/log/job/hello/1?after=%d", begin+6*19_500), "19500", "Finished: SUCCESS", 501},
		} {
			page := s.page(tt.path)
			if strings.HasPrefix(tt.path, "/queue/") {
				var part struct{ HTML string }
				if err := json.Unmarshal([]byte(page), &part); err != nil {
					s.Fatal(err)
				}
				page = part.HTML
			}
			if tt.path == "/job/hello/1/" {
				s.holds(page, `data-place="120056.20003."`)
			}
			rows := regexp.MustCompile(`<span class="l[^"]*"[^>]*><a [^>]*></a>(.*)\n</span>`).FindAllStringSubmatch(page, -1)
			if n := strings.Count(page, `<span class="chunk" data-from`); n != (tt.rows+499)/500 {
				s.Errorf("%s has %d chunks, want one for each 500 of %d rows", tt.path, n, tt.rows)
			}
			if len(rows) != tt.rows {
				s.Errorf("%s has %d rows, want %d", tt.path, len(rows), tt.rows)
				continue
			}
			at := int64(-1)
			for _, chunk := range regexp.MustCompile(`<span class="chunk" data-from="([^"]+)" data-to="([^"]+)">(?s:.*?\n</span></span>)`).FindAllStringSubmatch(page, -1) {
				from, fromErr := strconv.ParseInt(chunk[1], 10, 64)
				to, toErr := strconv.ParseInt(chunk[2], 10, 64)
				bytes := int64(len(regexp.MustCompile(`<[^>]*>`).ReplaceAllString(chunk[0], "")))
				if fromErr != nil || toErr != nil || at >= 0 && from != at || to != from+bytes {
					s.Errorf("%s has a chunk of %d bytes from %s to %s, and the one before ends at %d", tt.path, bytes, chunk[1], chunk[2], at)
				}
				at = to
			}
			text := func(row []string) string { return regexp.MustCompile(`<[^>]*>`).ReplaceAllString(row[1], "") }
			if first, last := text(rows[0]), text(rows[len(rows)-1]); first != tt.first || last != tt.last {
				s.Errorf("%s goes from %q to %q, want from %q to %q", tt.path, first, last, tt.first, tt.last)
			}
		}
	})
}

// Output that goes on is sent a few times a second.
func TestManyLinesMakeFewEvents(t *testing.T) {
	const lines = 200
	steady := run(func(_ context.Context, _ runner.Build, log io.Writer) runner.Result {
		time.Sleep(2 * time.Second)
		for i := range lines {
			_, _ = fmt.Fprintf(log, "line %d\n", i)
			time.Sleep(10 * time.Millisecond)
		}
		return runner.Result{Outcome: runner.Success}
	})
	onSite(t, jobs(at("hello", steady)), func(s *site) {
		s.trigger("hello", nil)
		out, ended, stop := s.open("/queue/-/events/job/hello/1/", "alice")
		defer stop()
		<-ended
		text := out.drain()
		s.holds(text, "line 0", fmt.Sprint("line ", lines-1))
		if n := strings.Count(text, "event: log"); n > 20 {
			s.Errorf("%d lines in two seconds were sent in %d events, want at most 20", lines, n)
		}
	})
}
