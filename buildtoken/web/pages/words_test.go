package pages_test

import (
	"encoding/xml"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
	"github.com/buildtoken/buildtoken/buildtoken/web"
	"github.com/buildtoken/buildtoken/buildtoken/web/pages"
)

func TestSpan(t *testing.T) {
	for in, want := range map[time.Duration]string{
		-time.Second:                          "0 ms",
		0:                                     "0 ms",
		350 * time.Millisecond:                "350 ms",
		999*time.Millisecond + 999*1000:       "999 ms",
		time.Second:                           "1.0 s",
		4250 * time.Millisecond:               "4.2 s",
		9990 * time.Millisecond:               "9.9 s",
		10 * time.Second:                      "10 s",
		12*time.Second + 900*time.Millisecond: "12 s",
		time.Minute:                           "1 min",
		3*time.Minute + 5*time.Second:         "3 min 5 s",
		time.Hour:                             "1 h",
		2*time.Hour + 10*time.Minute + 59*1e9: "2 h 10 min",
		23 * time.Hour:                        "23 h",
		76*time.Hour + time.Minute:            "3 d 4 h",
		24 * time.Hour:                        "1 d",
		10000 * time.Hour:                     "416 d 16 h",
	} {
		if got := pages.Span(in); got != want {
			t.Errorf("Span(%v) = %q, want %q", in, got, want)
		}
	}
}

func TestSize(t *testing.T) {
	for in, want := range map[int64]string{0: "0 bytes", 1023: "1023 bytes", 1024: "1 KiB", 1<<20 - 1: "1023 KiB", 1 << 20: "1.0 MiB", 11 << 20: "11.0 MiB"} {
		if got := pages.Size(in); got != want {
			t.Errorf("Size(%d) = %q, want %q", in, got, want)
		}
	}
}

func TestBadgeStates(t *testing.T) {
	for _, tt := range []struct {
		lane     queue.Lane
		disabled bool
		want     string
	}{
		{queue.Lane{}, false, "never built"},
		{queue.Lane{}, true, "disabled"},
		{queue.Lane{Running: []int64{1}}, false, "running"},
		{queue.Lane{Running: []int64{1}}, true, "running"},
		{queue.Lane{LastEnded: 1, Last: queue.Success}, false, "passing"},
		{queue.Lane{LastEnded: 1, Last: queue.Failure}, false, "failing"},
		{queue.Lane{LastEnded: 1, Last: queue.Aborted}, false, "aborted"},
		{queue.Lane{LastEnded: 1, Last: queue.NotBuilt}, false, "not built"},
		{queue.Lane{LastEnded: 1, Last: queue.Unstable}, false, "unstable"},
		{queue.Lane{LastEnded: 1, Last: "ANOTHER"}, false, "unknown"},
	} {
		if got := pages.BadgeOf(tt.lane, tt.disabled); got != tt.want {
			t.Errorf("badge of %+v, disabled %v = %q, want %q", tt.lane, tt.disabled, got, tt.want)
		}
	}
}

func TestBadge(t *testing.T) {
	onSite(t, tree(), func(s *site) {
		w := s.get("/job/secret/job/badged/badge/icon.svg", "")
		s.holds(w.Body.String(), "<title>build: never built</title>", `role="img"`)
		var svg struct {
			XMLName xml.Name
		}
		if err := xml.Unmarshal(w.Body.Bytes(), &svg); err != nil || svg.XMLName.Space != "http://www.w3.org/2000/svg" {
			s.Errorf("%v in %v", err, svg.XMLName)
		}
		if h := w.Header(); h.Get("Content-Type") != "image/svg+xml" || h.Get("Cache-Control") != "no-cache, max-age=0" || h.Get("Vary") != "" {
			s.Errorf("headers %v", h)
		}
		s.holds(w.Body.String(), `<rect width="116" height="20" rx="3" fill="#57606a"/>`, `<text x="77" y="14" textLength="65">never built</text>`)
		before := w.Header().Get("ETag")
		if !regexp.MustCompile(`^"[0-9a-f]{16}"$`).MatchString(before) {
			s.Errorf("ETag %s", before)
		}
		s.trigger("secret/badged", nil)
		r := request(http.MethodGet, "/job/secret/job/badged/badge/icon", "", nil)
		r.Header.Set("If-None-Match", before)
		w = s.do(r)
		if w.Code != http.StatusOK {
			s.Errorf("badge of another state = %d, want 200", w.Code)
		}
		s.holds(w.Body.String(), "failing")
		r.Header.Set("If-None-Match", w.Header().Get("ETag"))
		if w = s.do(r); w.Code != http.StatusNotModified || w.Body.Len() > 0 || w.Header().Get("Content-Type") != "image/svg+xml" {
			s.Errorf("badge of the same state = %d %s, want 304", w.Code, w.Header().Get("Content-Type"))
		}
	})
}

func TestFeed(t *testing.T) {
	type entry struct {
		ID      string `xml:"id"`
		Title   string `xml:"title"`
		Updated string `xml:"updated"`
		Summary string `xml:"summary"`
		Link    struct {
			Href string `xml:"href,attr"`
		} `xml:"link"`
	}
	type feed struct {
		XMLName xml.Name `xml:"http://www.w3.org/2005/Atom feed"`
		ID      string   `xml:"id"`
		Title   string   `xml:"title"`
		Updated string   `xml:"updated"`
		Author  string   `xml:"author>name"`
		Entries []entry  `xml:"entry"`
	}
	spec := jobs(at("a<&\">b", writes("")), at("other", fails(runner.Failure, "bad \x01 <end>")), at("third", writes("")), at("fourth", writes("")))
	onSite(t, spec, func(s *site) {
		read := func(path string) feed {
			w := s.get(path, "alice")
			if got := w.Header().Get("Content-Type"); w.Code != http.StatusOK || got != "application/atom+xml; charset=utf-8" {
				s.Fatalf("GET %s = %d %s", path, w.Code, got)
			}
			var f feed
			if err := xml.Unmarshal(w.Body.Bytes(), &f); err != nil || w.Header().Get("Vary") != "" {
				s.Fatalf("%v, Vary %q in\n%s", err, w.Header().Get("Vary"), w.Body)
			}
			if _, err := time.Parse(time.RFC3339, f.Updated); err != nil || f.ID == "" || f.Title == "" || f.Author == "" {
				s.Errorf("%v: a feed needs these: %+v", err, f)
			}
			return f
		}
		if f := read("/rssAll"); len(f.Entries) != 0 || f.Updated != "1970-01-01T00:00:00Z" {
			s.Errorf("updated %s with %v, want a constant and no entries", f.Updated, f.Entries)
		}
		s.trigger("a<&\">b", nil)
		s.trigger("other", nil)
		f := read("/rssAll")
		if len(f.Entries) != 2 {
			s.Fatalf("%d entries, want 2", len(f.Entries))
		}
		newest, older := f.Entries[0], f.Entries[1]
		if newest.Title != "other #1 Failed" || !strings.Contains(newest.Summary, "<end>") || newest.Link.Href != root+"job/other/1/" || newest.ID != newest.Link.Href {
			s.Errorf("newest entry %+v", newest)
		}
		if older.Title != "a<&\">b #1 Success" || older.Summary != "Started by user alice with note: push" || f.Updated != newest.Updated {
			s.Errorf("older entry %+v in a feed of %s", older, f.Updated)
		}
		one := read("/job/a%3C&%22%3Eb/rssAll")
		if len(one.Entries) != 1 || one.Title != "Builds of a<&\">b" {
			s.Errorf("feed of a job %+v", one)
		}
		for range 60 {
			s.trigger("other", nil)
		}
		if n, m := len(read("/job/other/rssAll").Entries), len(read("/rssAll").Entries); n != 50 || m != queue.MaxRecent+1 {
			s.Errorf("%d and %d entries, want 50 and 31", n, m)
		}
		for range 20 {
			s.trigger("third", nil)
			s.trigger("fourth", nil)
		}
		if n := len(read("/rssAll").Entries); n != 50 {
			s.Errorf("%d entries of four jobs, want 50", n)
		}
		for _, path := range []string{"/job/other/rssAll", "/job/nothing/rssAll"} {
			if w := s.get(path, "blind"); w.Code != http.StatusForbidden {
				s.Errorf("%s for a user who may not read = %d, want 403", path, w.Code)
			}
		}
		s.holds(s.page("/job/other/"), `<link rel="alternate" type="application/atom+xml" title="Builds" href="/ci/job/other/rssAll">`)
	})
}

// A build is updated when it ends, and is published when it starts.
func TestFeedHasTheTimesOfBuilds(t *testing.T) {
	onSite(t, jobs(at("app", takes(time.Minute, time.Hour))), func(s *site) {
		s.trigger("app", nil)
		time.Sleep(2 * time.Minute)
		s.trigger("app", nil)
		feed := s.page("/job/app/rssAll")
		s.holds(feed, "<updated>2000-01-01T00:02:01Z</updated><link",
			"<title>app #1 Success</title><published>2000-01-01T00:00:00Z</published><updated>2000-01-01T00:01:00Z</updated>",
			"<title>app #2 Running</title><published>2000-01-01T00:02:01Z</published><updated>2000-01-01T00:02:01Z</updated>")
	})
	onSite(t, jobs(), func(s *site) { s.lacks(s.page("/rssAll"), "<entry>") })
}

// The page of an item that never runs explains what to do.
func TestEachStuckItemHasARemedy(t *testing.T) {
	stuck := 0
	for _, r := range []queue.Reason{
		queue.NoServer, queue.QuietPeriod, queue.JobDisabled, queue.BuildRunning, queue.NoExecutor, queue.NoNode, queue.RecordDamaged,
	} {
		never := web.NeverRuns(queue.Entry{State: queue.Blocked, Blockage: queue.Blockage{Reason: r}})
		if never {
			stuck++
		}
		if got := pages.Remedy(r); (got != "") != (never || r == queue.JobDisabled) {
			t.Errorf("remedy for %q = %q, although it never runs = %v", r, got, never)
		}
	}
	if stuck != 3 {
		t.Errorf("%d reasons are final, want 3", stuck)
	}
}
