package jenkinsrunner_test

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/runner"
	"github.com/buildtoken/buildtoken/buildtoken/runner/jenkinsrunner"
	"github.com/buildtoken/buildtoken/internal/jenkinstest"
)

// written makes a build write pieces, with a pause after each in which the log is read.
func written(t *testing.T, exact bool, pieces ...string) (log string) {
	t.Helper()
	j, c := jenkins(t, jenkinstest.Job{Name: "x", Run: func(b *jenkinstest.Build) string {
		for _, p := range pieces {
			fmt.Fprint(b, p)
			b.Watched(2)
		}
		return "SUCCESS"
	}})
	j.Set(func(f *jenkinstest.Faults) { f.ExactSize = exact })
	c.Every = 100 * time.Microsecond
	var got strings.Builder
	if res := newRunner(t, c).Run(t.Context(), runner.Build{}, &got); res.Outcome != runner.Success {
		t.Fatalf("Run = %+v", res)
	}
	_, log, _ = strings.Cut(got.String(), "Started by user edge\n")
	log, ended := strings.CutSuffix(log, "Finished: SUCCESS\n")
	if !ended {
		t.Errorf("log = %q, want its end", log)
	}
	return log
}

// TestLogIsCopiedOnce reads logs while they grow, from a Jenkins that announces what it sends and one that announces more.
func TestLogIsCopiedOnce(t *testing.T) {
	many := strings.Repeat("a line\n", 25_000)
	for name, pieces := range map[string][]string{
		"whole lines":                      {"a\n", "b\n", "c\n"},
		"an incomplete line":               {"a\nb\nincom", "plete\n", "c\n"},
		"an incomplete line with a CR":     {"a\nb\nxy", "z\rw\n", "c\n"},
		"dots":                             {"a\nb\nc\n", ".", ".", ".", ".", "\n", "d\n"},
		"a short incomplete line":          {"a\nb\nc\nx", "\n", "\n", "\nd\n"},
		"an incomplete line like the last": {"a\na\na\na", "\na\na", "\na\n"},
		"blank lines":                      {"a\n\n\n", "\n", "\n\n", "b\n"},
		"no line end":                      {"a\n", "b"},
		"CRLF":                             {"a\r\nb\r\n", "c\r\n", "d\r\n"},
		"CRLF among LF":                    {"a\nb\n", "c\r\nd\n", "e\r\n\r\n", "f\n"},
		"CRLF and an incomplete line":      {"a\r\nb\r\n", "c\r\nincom", "plete\r\n", "d\r\n"},
		"CRLF without the LF yet":          {"a\r\nb\r", "\nc\r\n"},
		"CR":                               {"1%\r2%\r", "3%\n", "4%\r"},
		"more than 10,000 lines":           {many, "b\nincom", "plete\n"},
		"more than 10,000 lines at once":   {many + many},
		"a long line":                      {strings.Repeat("x", 200_000) + "\n", "b\n", strings.Repeat("y", 100_000), "\nc\n"},
		"notes":                            {"\x1b[8mha:////4AbC==\x1b[0mBuilding\n", "a\x1b[8mha:x\x1b[0mb\n"},
		"colours":                          {"\x1b[31mred\x1b[0m\n", "\x1b[8mhidden\x1b[0m\n"},
	} {
		for _, exact := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, exact=%v", name, exact), func(t *testing.T) {
				t.Parallel()
				want := strings.ReplaceAll(strings.Join(pieces, ""), "\r\n", "\n")
				if name == "notes" {
					want = "Building\nab\n"
				}
				got := written(t, exact, pieces...)
				if !strings.HasPrefix(name, "CRLF and an") && !strings.HasPrefix(name, "CRLF without") && got != want {
					t.Errorf("log has %d bytes, want %d: %.300q", len(got), len(want), got)
				}
				checkCopy(t, got, want)
			})
		}
	}
}

// A line that was incomplete is copied when it is complete, and not only at the end of the build.
func TestIncompleteLineIsCopiedSoon(t *testing.T) {
	work := func(b *jenkinstest.Build) string {
		fmt.Fprint(b, "one\ntwo\nth")
		time.Sleep(5 * time.Second)
		fmt.Fprint(b, "ree\n")
		time.Sleep(time.Hour)
		return "SUCCESS"
	}
	inBubble(t, jenkinstest.Job{Run: work}, func(t *testing.T, j *clocked, c jenkinsrunner.Config) {
		var at time.Duration
		log := &onLog{text: "\none\ntwo\nthree\n", call: func() { at = time.Since(j.began).Truncate(time.Millisecond) }}
		if res := newRunner(t, c).Run(t.Context(), runner.Build{}, log); res.Outcome != runner.Success || at != 7*time.Second {
			t.Errorf("Run = %+v, and the line was there after %v; want 7s, when the log is read", res, at)
		}
	})
}

// TestLogThatShrinks makes the log shorter while it is followed. What was copied before is
// compared with the whole log when the build has ended.
func TestLogThatShrinks(t *testing.T) {
	const begin = "Started by user edge\none\n"
	other := "Started by user edge\n1\n2\n" + strings.Repeat("another line\n", 4000)
	for _, tt := range []struct {
		name, whole string
		status      int
		stop        time.Duration // when the build is stopped; 0 for never
		want        string
	}{
		{"and that has grown since", "", 200, 0, begin + "two\nFinished: SUCCESS\n"},
		{"and is another one then", other, 200, 0, begin + "Jenkins: the log above has gaps; this is all of it from where they begin\n" + other},
		{"and stays like that", begin, 200, 0, begin},
		{"and is missing once then", "", 500, 0, begin + "Jenkins: the log may have gaps: the answer is 500 Internal Server Error\n"},
		{"and the build is stopped", "", 200, 8 * time.Second, begin + "two\nFinished: ABORTED\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			work := func(b *jenkinstest.Build) string {
				fmt.Fprintln(b, "one")
				time.Sleep(10 * time.Second)
				fmt.Fprintln(b, "two")
				return "SUCCESS"
			}
			inBubble(t, jenkinstest.Job{Run: work}, func(t *testing.T, j *clocked, c jenkinsrunner.Config) {
				var missed atomic.Bool // the whole log is missing once
				j.Set(func(f *jenkinstest.Faults) {
					f.Intercept = func(w http.ResponseWriter, r *http.Request) bool {
						since := time.Since(j.began)
						switch {
						case path("/progressiveText")(r) && since > 5*time.Second:
							w.Header().Set("X-Text-Size", "1")
							w.Header().Set("X-More-Data", fmt.Sprint(since < 10*time.Second))
						case path("/consoleText")(r) && (tt.whole != "" || tt.status != 200) && missed.CompareAndSwap(false, tt.whole == ""):
							w.WriteHeader(tt.status)
							fmt.Fprint(w, tt.whole)
						default:
							return false
						}
						return true
					}
				})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				want := runner.Success
				if tt.stop > 0 {
					want = runner.Aborted
					time.AfterFunc(tt.stop, cancel)
				}
				var log strings.Builder
				if res := newRunner(t, c).Run(ctx, runner.Build{}, &log); res.Outcome != want {
					t.Errorf("Run = %+v, want %s", res, want)
				}
				if _, got, _ := strings.Cut(log.String(), "/job/x/1/\n"); got != tt.want {
					t.Errorf("log = %q, want %q", got, tt.want)
				}
			})
		})
	}
}

var logSeed = flag.Uint64("log.seed", 0, "the only random log to read; 0: others each time")

// TestRandomLogs reads random logs. If the copy is not exact, it must contain a note, and the
// rest of the log at its end. The names of the subtests are seeds for -log.seed.
func TestRandomLogs(t *testing.T) {
	for range 40 {
		seed := cmp.Or(*logSeed, rand.Uint64())
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(seed, 0))
			var pieces []string
			for range 1 + r.IntN(8) {
				var p strings.Builder
				for range r.IntN(12) {
					p.WriteString([]string{"a", "bb", ".", "\n", "\n", "\r\n", "line\n", "line\r\n", "\r"}[r.IntN(9)])
				}
				pieces = append(pieces, p.String())
			}
			want := strings.ReplaceAll(strings.Join(pieces, ""), "\r\n", "\n")
			got := written(t, false, pieces...)
			checkCopy(t, got, want)
		})
	}
}

// checkCopy reports a copy that is not exact, unless it has a note and the rest of the log at
// its end.
func checkCopy(t *testing.T, got, want string) {
	t.Helper()
	before, rest, repaired := strings.Cut(got, "Jenkins: the log above has gaps; this is all of it from where they begin\n")
	switch {
	case got == want:
	case !repaired:
		t.Errorf("log has %d bytes, want %d: %.300q", len(got), len(want), got)
	case !strings.HasSuffix(want, rest) || !strings.HasPrefix(before, want[:len(want)-len(rest)]):
		t.Errorf("log = %.300q, which does not have the rest of %.300q", got, want)
	}
}
