package pages_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
)

func TestLineWithoutEndIsShownApart(t *testing.T) {
	onSite(t, jobs(at("hello", hangs("one\n\x1b[1mcontinue? "))), func(s *site) {
		s.trigger("hello", nil)
		s.holds(s.page("/job/hello/1/"), `data-to="42" data-size="56" data-place="42.3."`, `one
</span></span><span class="chunk" data-console-rest><span class="l" data-t="0"><a href="?at=42#at" data-n="3" tabindex="-1" aria-hidden="true"></a><span class="ab">continue? </span></span></span></pre>`)
	})
}

// A page does not show half of a character that is still being written.
func TestPageWaitsForTheRestOfACharacter(t *testing.T) {
	onSite(t, jobs(at("hello", hangs("one\ncaf\xc3"))), func(s *site) {
		s.trigger("hello", nil)
		page := s.page("/job/hello/1/")
		s.holds(page, "</a>caf</span>", "data-console-earlier hidden>")
		s.lacks(page, "\uFFFD", "0 bytes")
	})
}

// One page, and one request of the script, brings so many bytes of long lines.
func TestPageHasSoManyBytes(t *testing.T) {
	const begin, rows, row = 38, 6000, 128 // where the text of the build begins, and how long its lines are
	const size = begin + rows*row + 18
	const shown, before = 256 << 10, 64 << 10
	onSite(t, jobs(at("hello", writes(strings.Repeat(strings.Repeat("x", row-1)+"\n", rows)))), func(s *site) {
		s.trigger("hello", nil)
		const place = begin + 3000*row
		for _, tt := range []struct {
			path     string
			from, to int
		}{
			{"/job/hello/1/", begin + (rows-shown/row)*row, size},
			{fmt.Sprintf("/job/hello/1/?at=%d", place), place - before, place + shown - before},
			{"/job/hello/1/?at=0", 0, begin + (shown-before-begin)/row*row},
			{fmt.Sprintf("/job/hello/1/?at=%d", begin+rows*row), begin + rows*row - before, size},
			{fmt.Sprintf("/queue/-/log/job/hello/1?before=%d", place), place - shown, place},
			{fmt.Sprintf("/queue/-/log/job/hello/1?after=%d", place), place, place + shown},
		} {
			page := s.page(tt.path)
			if strings.HasPrefix(tt.path, "/queue/") {
				var part struct{ From, To, Size int }
				if err := json.Unmarshal([]byte(page), &part); err != nil {
					s.Fatal(err)
				}
				page = fmt.Sprintf(`data-from="%d" data-to="%d" data-size="%d"`, part.From, part.To, part.Size)
			}
			if want := fmt.Sprintf(`data-from="%d" data-to="%d" data-size="%d"`, tt.from, tt.to, size); !strings.Contains(page, want) {
				s.Errorf("%s has %s, want %s", tt.path, regexp.MustCompile(`data-from="\d+" data-to="\d+" data-size="\d+"`).FindString(page), want)
			}
		}
	})
}

// A stream of a log begins where the client asks, and with all of the log if that is no place.
func TestStreamOfALogBeginsAtAPlace(t *testing.T) {
	onSite(t, jobs(at("hello", writes("\x1b[31mone\ntwo\n"))), func(s *site) {
		s.trigger("hello", nil) // 38 + 9 + 4 + 18 bytes
		for _, tt := range []struct {
			start, from, line string
			reset             bool
		}{
			{"", "0", "1", false},
			{"0", "0", "1", false},
			{"38", "38", "2", false},
			{"40", "38", "2", false},
			{"47", "47", "3", false},
			{"38.7.", "38", "7", false},
			{"47.3.38%3B5%3B1", "47", "3", false},
			{"0.2147483646.", "0", "2147483646", false},
			{"47.3." + strings.Repeat("1", 100), "47", "3", false},
			{"47.3." + strings.Repeat("1", 101), "0", "1", false},
			{"47.0.", "0", "1", false},
			{"-1.1.", "0", "1", false},
			{"0.2147483647.", "0", "1", false},
			{"47.3", "0", "1", false},
			{"47.3..", "0", "1", false},
			{"x.3.", "0", "1", false},
			{"47.x.", "0", "1", false},
			{"-1", "0", "1", true},
			{"99.5.", "0", "1", true},
			{"69.5.", "", "", false}, // of another log, and the end of this one
		} {
			out, ended, stop := s.open("/queue/-/events/job/hello/1/?start="+tt.start, "alice")
			<-ended
			stop()
			text := out.drain()
			_, data, _ := strings.Cut(text, "event: log\n")
			from := regexp.MustCompile(`"from":(\d+)`).FindStringSubmatch(data)
			line := regexp.MustCompile(`data-n=\\"(\d+)\\"`).FindStringSubmatch(data)
			if tt.from == "" {
				s.lacks(text, "event: log")
				continue
			}
			if from == nil || line == nil || from[1] != tt.from || line[1] != tt.line || strings.Contains(data, `"reset":true`) != tt.reset {
				s.Errorf("start=%s begins at %v with the line %v, want %s and %s; %.300s", tt.start, from, line, tt.from, tt.line, data)
			}
			if tt.start == "47.3.38%3B5%3B1" {
				s.holds(data, `class=\"f1\"`)
			}
		}
	})
}

// A permalink leads the stream of a page to that of the build, and HEAD answers like GET.
func TestStreamOfAPermalink(t *testing.T) {
	onSite(t, jobs(at("hello", writes("hello\n"))), func(s *site) {
		s.trigger("hello", nil)
		out, ended, stop := s.open("/queue/-/events/job/hello/lastBuild/?has=nav:1", "alice")
		defer stop()
		<-ended
		s.streams(out, `go "/ci/job/hello/1/"`)
		w := s.do(request(http.MethodHead, "/queue/-/events/job/hello/1/", "alice", nil))
		if got := w.Header().Get("Content-Type"); w.Code != http.StatusOK || got != "text/event-stream" {
			s.Errorf("HEAD = %d %s", w.Code, got)
		}
	})
}

// A stream that has to end while another one makes its page asks the browser to connect again.
func TestStreamEndsBeforeItsFirstPage(t *testing.T) {
	q := slowList{takes: time.Minute}
	onQueue(t, tree(), func(inner buildtoken.Queue) buildtoken.Queue { q.Queue = inner; return &q }, func(s *site) {
		done := make(chan struct{})
		s.pages.site.Done = done
		_, _, stop := s.open("/queue/-/events/", "alice")
		out, ended, stopToo := s.open("/queue/-/events/", "alice")
		gone, _, leave := s.open("/queue/-/events/", "alice")
		leave()
		s.lacks(gone.drain(), "event:")
		close(done)
		<-ended
		if got := out.header.Get("Content-Type"); got != "text/event-stream" {
			s.Errorf("Content-Type = %q", got)
		}
		s.lacks(out.drain(), "event:")
		stop()
		stopToo()
	})
}

// After a reload with fewer executors, builds of the others are still shown.
func TestExecutorsThatAreNoMore(t *testing.T) {
	onSite(t, jobs(at("one", hangs("")), at("two", hangs("")), at("three", hangs("")), at("far", remote{hangs("")}), at("away", remote{hangs("")})), func(s *site) {
		for _, full := range []string{"one", "two", "far", "away"} {
			s.trigger(full, nil)
		}
		page := s.page("/computer/")
		s.holds(page, `data-say="2 executors are busy, 2 remote builds run"`, `<th scope="row" data-label="Executor">3</th>`, `<tr data-key="remote-far #1-1">`, `<tr data-key="remote-away #1-2">`)
		if n := strings.Count(page, "Idle"); n != 1 {
			s.Errorf("%d executors are idle, want one", n)
		}
		s.trigger("three", nil)
		if _, err := s.ctl.Attach(s.Context(), buildtoken.Config{Sites: []*definition.Site{s.def}, Executors: 1, ShutdownTimeout: -1}); err != nil {
			s.Fatal(err)
		}
		page = s.page("/computer/")
		for i, name := range []string{"one", "two", "three"} {
			s.holds(page, fmt.Sprintf(`<th scope="row" data-label="Executor">%d</th>`, i+1), "<bdi>"+name+" #1</bdi>")
		}
		s.lacks(page, "Idle", `data-label="Executor">4<`)
		for _, left := range []string{"3 executors are busy, 1 remote build runs", "3 executors are busy"} {
			name := "far"
			if !strings.Contains(left, "remote") {
				name = "away"
			}
			s.post("/job/"+name+"/1/stopForm", "alice", nil)
			s.settle()
			s.holds(s.page("/computer/"), `data-say="`+left+`"`)
		}
	})
}

// A log is worth more than its times.
func TestLogWhoseTimesCannotBeRead(t *testing.T) {
	onSite(t, jobs(at("hello", writes("hello\n"))), func(s *site) {
		s.trigger("hello", nil)
		times := filepath.Join(s.dir, "logs", job.PathElement("hello"), "1.log.times")
		if err := errors.Join(os.Remove(times), os.Mkdir(times, 0o700)); err != nil {
			s.Fatal(err)
		}
		page := s.page("/job/hello/1/")
		s.holds(page, "hello\n</span>")
		s.lacks(page, "data-t=")
		if got := s.logs.TakeAll(); len(got) != 1 || got[0].Message != "times of a log cannot be read" {
			s.Errorf("the log has %v", got)
		}
	})
}

// A build whose log was removed has a page all the same.
func TestLogThatIsGone(t *testing.T) {
	onSite(t, jobs(at("hello", writes("hello\n"))), func(s *site) {
		s.trigger("hello", nil)
		if err := os.RemoveAll(filepath.Join(s.dir, "logs", job.PathElement("hello"))); err != nil {
			s.Fatal(err)
		}
		s.holds(s.page("/job/hello/1/"), `data-size="0" data-place="0.1."`, " data-complete data-attached>", "There is no output.")
		if w := s.get("/queue/-/log/job/hello/1", "alice"); w.Code != http.StatusNotFound {
			s.Errorf("a part of the log = %d, want 404", w.Code)
		}
	})
}

// A log that cannot be opened is not shown as an empty one.
func TestLogThatCannotBeOpened(t *testing.T) {
	onSite(t, jobs(at("hello", writes("hello\n"))), func(s *site) {
		s.trigger("hello", nil)
		log := filepath.Join(s.dir, "logs", job.PathElement("hello"), "1.log")
		if err := errors.Join(os.Remove(log), os.Symlink("1.log", log)); err != nil { // to itself
			s.Fatal(err)
		}
		for _, path := range []string{"/job/hello/1/", "/queue/-/log/job/hello/1"} {
			if w := s.get(path, "alice"); w.Code != http.StatusInternalServerError {
				s.Errorf("GET %s = %d, want 500", path, w.Code)
			}
		}
		out, ended, stop := s.open("/queue/-/events/job/hello/1/", "alice")
		<-ended
		stop()
		s.lacks(out.drain(), "event: done")
		s.logged("1.log")
	})
}
