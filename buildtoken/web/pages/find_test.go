package pages_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/buildtoken/buildtoken/buildtoken/web/pages"
)

// here returns the text of the rows that a page marks.
func here(page string) string {
	var all []string
	for _, m := range regexp.MustCompile(`(?s)<span class="l[a-z ]* here"[^>]*>(.*?\n)</span>`).FindAllStringSubmatch(page, -1) {
		all = append(all, strings.TrimSuffix(regexp.MustCompile(`<[^>]*>`).ReplaceAllString(m[1], ""), "\n"))
	}
	return strings.Join(all, "|")
}

// foundIn returns the result of a search on a page, in one line.
func foundIn(page string) string {
	_, text, _ := strings.Cut(page, "data-console-named>")
	text, _, _ = strings.Cut(text, "</span>")
	return regexp.MustCompile(`<[^>]*>`).ReplaceAllString(text, "")
}

func TestFindInALog(t *testing.T) {
	log := "\x1b[31mapple\x1b[0m pie\nbanana\nAP\x1b[1mPLE\nold apple\rnew pear\n" + strings.Repeat("filler\n", 20_000) + "last apple, no end"
	onSite(t, jobs(at("hello", writes(log))), func(s *site) {
		s.trigger("hello", nil)
		for _, tt := range []struct{ query, found, here string }{
			{"?q=apple", "Match 1 of 3", "apple pie"},
			{"?q=+APPLE+", "Match 1 of 3", "apple pie"},
			{"?q=apple&at=70", "Match 2 of 3", "APPLE"},
			{"?q=apple&at=62", "3 lines match", "banana"},
			{"?q=banana&at=0", "1 line matches", "Started by user alice with note: push"},
			{"?q=apple&at=38", "Match 1 of 3", "apple pie"},
			{"?q=LAST", "Match 1 of 1", "last apple, no end"},
			{"?q=old", "No line has “old”.", ""}, // it was overwritten
			{"?q=filler&at=100", "Match 2 of 20000", "filler"},
			{"?q=%3Cb%3E", "No line has “&lt;b&gt;”.", ""},
			{"?q=+", "The place of the link", ""},
			{"?at=60", "The place of the link", "banana"},
			{"?at=38-63", "The place of the link", "apple pie|banana"},
			{"?at=63-38", "The place of the link", "apple pie|banana"},
			{"?find=error", "No line looks like an error.", ""},
		} {
			page := s.page("/job/hello/1/" + tt.query)
			if got := foundIn(page); got != tt.found {
				s.Errorf("%s: found %q, want %q", tt.query, got, tt.found)
			}
			if got := here(page); got != tt.here {
				s.Errorf("%s: shows %q, want %q", tt.query, got, tt.here)
			}
			if n := strings.Count(page, ` here" id="at"`); n != min(len(tt.here), 1) {
				s.Errorf("%s: the browser goes to %d rows", tt.query, n)
			}
		}
		page := s.page("/job/hello/1/?q=apple&at=70")
		s.holds(page, `value="apple"`, `href="?at=38&amp;q=apple#at" aria-keyshortcuts="p"`, `href="?at=140093&amp;q=apple#at" aria-keyshortcuts="n"`)
		page = s.page("/job/hello/1/?q=apple&at=140093")
		s.holds(page, "Match 3 of 3", `href="?at=64&amp;q=apple#at" aria-keyshortcuts="p"`, `href="?at=38&amp;q=apple#at" aria-keyshortcuts="n"`, `data-n="20005"`)
		s.lacks(page, "banana")
	})
}

// What was searched for is marked in the line, also where its style changes or a link is.
func TestFoundTextIsMarked(t *testing.T) {
	const log = "AP\x1b[1mPLE pie, apple\nhttps://x.test/apple?a=1&b apples\n\u0130 apple\n&lt; a<b appl\n"
	onSite(t, jobs(at("hello", writes(log))), func(s *site) {
		s.trigger("hello", nil)
		page := s.page("/job/hello/1/?q=Apple")
		if n := strings.Count(page, `<span class="l hit`); n != 3 {
			s.Errorf("%d rows are marked as matches, want 3", n)
		}
		s.holds(page, `<mark>AP</mark><span class="ab"><mark>PLE</mark> pie, <mark>apple</mark></span>`,
			`<a href="https://x.test/apple?a=1&amp;b" rel="noopener noreferrer">https://x.test/<mark>apple</mark>?a=1&amp;b</a> <mark>apple</mark>s`,
			"\u0130 apple", "a&lt;b appl")
		if n := strings.Count(page, "<mark>"); n != 5 {
			s.Errorf("%d marks, want 5", n)
		}
		s.holds(s.page("/job/hello/1/?q=b+APPL"), "&amp;lt; a&lt;<mark>b appl</mark>", "?a=1&amp;<mark>b</mark></a><mark> appl</mark>es")
		s.lacks(s.page("/job/hello/1/?find=error"), "<mark>")
		s.lacks(s.page("/job/hello/1/?at=60"), "<mark>")
	})
}

func TestAddressOfAnInvalidPlace(t *testing.T) {
	onSite(t, jobs(at("hello", writes("hello\n")), at("none", writes(""))), func(s *site) {
		s.trigger("hello", nil)
		for query, want := range map[string]string{
			"?at=x":                             "The place at=x is neither",
			"?at=-5":                            "The place at= is neither",
			"?at=5-":                            "The place at= is neither",
			"?at=4611686018427387904":           "The place at=4611686018427387904 is neither", // 2^62
			"?at=4611686018427387903":           "The place is beyond the end of the log",
			"?at=40-63":                         "The place is beyond the end of the log",
			"?at=1-2-3":                         "The place at=2-3 is neither",
			"?at=99999999999999999999":          "is neither a number of bytes",
			"?at=63":                            "The place is beyond the end of the log, which has 62 bytes so far.",
			"?find=warning":                     "find=warning is not known",
			"?q=a%0Ab":                          "a line break or another control character",
			"?q=%FF":                            "a line break or another control character",
			"?q=" + strings.Repeat("x", 201):    "longer than 200 bytes",
			"?find=" + strings.Repeat("x", 41):  "find=" + strings.Repeat("x", 40) + " is not known",
			"?at=%3Cscript%3E":                  "at=&lt;script&gt; is neither",
			"?q=hello&at=" + "4611686018427387": "beyond the end",
		} {
			w := s.get("/job/hello/1/"+query, "alice")
			if w.Code != http.StatusBadRequest {
				s.Errorf("%s = %d, want 400", query, w.Code)
			}
			s.holds(w.Body.String(), want, `<a href="?">Open the page</a>`)
			s.lacks(w.Body.String(), "Nothing was queued")
		}
		s.holds(s.page("/job/hello/1/?at=62"), "Finished: SUCCESS") // the end is a place
		s.holds(s.page("/job/hello/1/?q="+strings.Repeat("x", 200)), "No line has")
	})
}

func TestWhatLooksLikeAnError(t *testing.T) {
	for line, want := range map[string]bool{
		"error: no such file": true, "Error:": true, "ERROR 42": true, "build failed": true, "1 failure": true, "panic: oh": true,
		"java.lang.NullPointerException: x": true, "FAIL TestX": true, "Traceback (most recent call last):": true, "3 failed, 0 errors": true,
		"": false, "0 failed": false, "failures: 0, errors = 0": false, "no error": false, "terror": false, "failover": false,
		"errors": false, "Finished: FAILURE": false, "all is well": false,
	} {
		if got := pages.LooksLikeError(line); got != want {
			t.Errorf("%q looks like an error: %v, want %v", line, got, want)
		}
	}
}

// unreadable is a log that cannot be read.
type unreadable struct{ err error }

func (l unreadable) ReadAt([]byte, int64) (int, error) { return 0, l.err }

func TestSearchThatCannotBeFinishedIsAnError(t *testing.T) {
	broken := errors.New("input/output error")
	if _, err := pages.SearchLog(t.Context(), unreadable{broken}, 8, "one"); !errors.Is(err, broken) {
		t.Errorf("the search of a log that cannot be read: %v, want %v", err, broken)
	}
	gone := errors.New("the reader has gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(gone)
	if _, err := pages.SearchLog(ctx, strings.NewReader("one\ntwo\n"), 8, "one"); !errors.Is(err, gone) {
		t.Errorf("the search for a reader who has gone: %v, want %v", err, gone)
	}
}

// endless is a log of empty rows and a few others, which begin at an offset.
type endless struct{ at int64 }

func (l endless) ReadAt(p []byte, from int64) (int, error) {
	const empty = "\n\n\n\n\n\n\n\n"
	for i := 0; i < len(p); i += len(empty) {
		copy(p[i:], empty)
	}
	const rows = "first\nlast\n"
	if i := l.at - from; i > -int64(len(rows)) && i < int64(len(p)) {
		copy(p[max(i, 0):], rows[max(-i, 0):])
	}
	return len(p), nil
}

func TestSearchEndsWithinAVeryLongLog(t *testing.T) {
	const most = 256 << 20
	if got, err := pages.SearchLog(t.Context(), endless{most - int64(len("first\n"))}, 2*most, "st"); got != 1 || err != nil {
		t.Errorf("%d rows are found, %v; want one", got, err)
	}
}

// The first match follows the last one, and the other way round.
func TestMatchesLeadToEachOther(t *testing.T) {
	onSite(t, jobs(at("hello", writes("apple\nbanana\napple\ncherry\napple\n"))), func(s *site) {
		s.trigger("hello", nil)
		const first, second, third = 38, 51, 64
		for _, tt := range []struct {
			query      string
			prev, next int
		}{
			{"?q=apple", third, second},
			{"?q=apple&at=51", first, third},
			{"?q=apple&at=64", second, first},
			{"?q=apple&at=57", second, third}, // cherry
			{"?q=apple&at=0", third, first},
		} {
			page := s.page("/job/hello/1/" + tt.query)
			s.holds(page, fmt.Sprintf(`<a href="?at=%d&amp;q=apple#at" aria-keyshortcuts="p">Previous`, tt.prev), fmt.Sprintf(`<a href="?at=%d&amp;q=apple#at" aria-keyshortcuts="n">Next`, tt.next))
		}
	})
}

func TestMatchesLeadToTheFirstLine(t *testing.T) {
	onSite(t, jobs(at("hello", writes("push\nother\npush\n"))), func(s *site) {
		s.trigger("hello", nil) // with the note push
		s.holds(s.page("/job/hello/1/?q=push&at=38"), "Match 2 of 3", `<a href="?at=0&amp;q=push#at" aria-keyshortcuts="p">`, `<a href="?at=49&amp;q=push#at" aria-keyshortcuts="n">`)
		s.holds(s.page("/job/hello/1/?q=push&at=49"), "Match 3 of 3", `<a href="?at=38&amp;q=push#at" aria-keyshortcuts="p">`, `<a href="?at=0&amp;q=push#at" aria-keyshortcuts="n">`)
	})
}

func TestErrorsLeadToEachOther(t *testing.T) {
	onSite(t, jobs(at("hello", writes("panic: one\nfine\n2 errors failed\n"))), func(s *site) {
		s.trigger("hello", nil)
		page := s.page("/job/hello/1/?find=error&q=ignored")
		s.holds(page, "Error 1 of 2", `<a href="?at=54&amp;find=error#at" aria-keyshortcuts="p">Previous`, `<a href="?at=54&amp;find=error#at" aria-keyshortcuts="n">Next`)
		s.lacks(page, "ignored")
		s.holds(s.page("/job/hello/1/?find=error&at=50"), "2 lines look like an error")
	})
}

// The last row of a log that grows has no end yet.
func TestFindInALogThatGrows(t *testing.T) {
	onSite(t, jobs(at("hello", hangs("one\n"+strings.Repeat("filler\n", 20_000)+"continue? "))), func(s *site) {
		s.trigger("hello", nil)
		for query, want := range map[string]string{"?q=continue": "Match 1 of 1", "?q=one": "Match 1 of 1", "?q=two": "No line has “two”."} {
			if got := foundIn(s.page("/job/hello/1/" + query)); got != want {
				s.Errorf("%s: found %q, want %q", query, got, want)
			}
		}
	})
}

func TestPermalinkKeepsThePlace(t *testing.T) {
	onSite(t, jobs(at("hello", writes("hello\n"))), func(s *site) {
		s.trigger("hello", nil)
		for path, want := range map[string]string{
			"/job/hello/lastBuild/?find=error":                  "/ci/job/hello/1/?find=error",
			"/job/hello/lastSuccessfulBuild/console?q=a+b&at=5": "/ci/job/hello/1/console?at=5&q=a+b",
			"/job/hello/lastBuild/":                             "/ci/job/hello/1/",
		} {
			if got := s.get(path, "alice").Header().Get("Location"); got != want {
				s.Errorf("%s leads to %q, want %q", path, got, want)
			}
		}
	})
}

// The quick search of plain text and the thorough search of what a terminal displays must find
// the same lines.
func FuzzFind(f *testing.F) {
	f.Add([]byte("one\ntwo error\nthree"), "two", int64(5))
	f.Add([]byte("\x1b[31merr\x1b[0mor\nx\ry\n"), "error", int64(-1))
	f.Add([]byte("İ\nK\xff\n"), "k", int64(0))
	f.Add([]byte("title 50%\r\ntitle 60%\r\r\nother\r"), "title", int64(-1))
	f.Add([]byte("\x1b][0;title\aerror\n"), "title", int64(-1))
	f.Add([]byte("title\x1b[0;\ntitle \x1b[?\n\x1b[1;3"), "title", int64(-1))
	f.Add([]byte("\x1b[?25ltitle\x1b[2K\x1b[@\x1b[3~ error\n"), "title", int64(-1))
	f.Add([]byte("\x1b[@title\n"), "title", int64(-1))
	for _, c := range "\x00\x01\b\t\v\x1f !\x7f\u0080\u009f\u00a0" { // most are not shown
		f.Add([]byte("a\rt"+string(c)+"itle\r\n"), "title", int64(-1))
	}
	f.Add([]byte("\x1b[1/0mtitle\n\x1b[1\x1fmtitle\n"), "mt", int64(-1))
	f.Add([]byte(strings.Repeat("x\n", 256<<10-4)+"needle\ny\ny\n"), "needle", int64(-1)) // ends where a block does
	f.Add([]byte("a\x80b\n\x80\n"), "\ufffd", int64(-1))
	f.Add([]byte(strings.Repeat("x", 300_000)+"\nneedle\n"+strings.Repeat("needle", 100_000)), "needle", int64(300_001))
	f.Fuzz(func(t *testing.T, log []byte, text string, place int64) {
		if strings.ContainsAny(text, "\r\n") || strings.TrimSpace(text) == "" || len(text) > 200 {
			return
		}
		for _, errors := range []bool{false, true} {
			quick, slow := pages.Find(t, log, text, errors, place)
			if quick != slow {
				t.Fatalf("%q in %q from %d: %s, but line by line %s", text, log, place, quick, slow)
			}
		}
	})
}

func BenchmarkFind(b *testing.B) {
	for name, line := range map[string]string{
		"plain":    strings.Repeat("x", 99) + "\n",
		"coloured": "\x1b[32mok\x1b[0m package " + strings.Repeat("x", 50) + "\n",
	} {
		log := []byte(strings.Repeat(line, (64<<20)/len(line)))
		for _, errors := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/errors=%v", name, errors), func(b *testing.B) {
				b.SetBytes(int64(len(log)))
				for b.Loop() {
					pages.FindIn(b, log, "needle", errors)
				}
			})
		}
	}
}
