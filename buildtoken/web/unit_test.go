package web_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

func TestPrefers(t *testing.T) {
	for _, tt := range []struct {
		name   string
		accept []string
		want   bool
	}{
		{"nothing said", nil, false},
		{"JSON only", []string{"application/json"}, true},
		{"in capitals, with a parameter", []string{"Application/JSON;charset=utf-8"}, true},
		{"everything", []string{"*/*"}, false},
		{"a browser", []string{"text/html,application/xhtml+xml,*/*;q=0.8"}, false},
		{"JSON first among equals", []string{"application/json, text/plain, */*"}, true},
		{"text first among equals", []string{"text/plain, application/json"}, false},
		{"text has more weight", []string{"application/json;q=0.5, text/plain"}, false},
		{"JSON has more weight", []string{"text/plain;q=0.5", "application/json"}, true},
		{"JSON has no weight", []string{"application/json;q=0"}, false},
		{"the weight is no number", []string{"application/json;q=NaN"}, false},
		{"a weight above 1", []string{"application/json;q=2"}, false},
		{"JSON has less weight than everything", []string{"application/json;q=0.5, */*"}, false},
		{"all of its kind", []string{"application/*"}, true},
		{"all of its kind beside everything", []string{"*/*, application/*"}, true},
		{"JSON beside all of the other kind", []string{"text/*, application/json"}, true},
		{"no JSON, of all of its kind", []string{"application/*, application/json;q=0"}, false},
		{"no JSON, and then all of its kind", []string{"application/json;q=0, application/*"}, false},
		{"JSON beside everything", []string{"*/*, application/json"}, true},
		{"a second weight, which does not count", []string{"application/json, application/json;q=0"}, true},
		{"another kind of JSON", []string{"application/problem+json"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := web.Negotiate(tt.accept, "text/plain", "text/html", "application/json") == "application/json"; got != tt.want {
				t.Errorf("Prefers(%q) = %v, want %v", tt.accept, got, tt.want)
			}
		})
	}
}

// The most specific clause counts, wherever it stands.
func TestAcceptOfAKind(t *testing.T) {
	for accept, want := range map[string]string{
		"*/*;q=0.9": "application/json", "application/*;q=0.5, */*": "text/plain", "*/*, application/*;q=0.5": "text/plain",
		"application/*, */*;q=0.5": "application/json", "application/json, application/json;q=0.1, text/plain;q=0.5": "application/json", "application/json;q=0.4, application/*, */*;q=0.5": "text/plain",
	} {
		if got := web.Negotiate([]string{accept}, "application/json", "text/plain"); got != want {
			t.Errorf("Negotiate(%q) = %q, want %q", accept, got, want)
		}
	}
}

func TestTraceParent(t *testing.T) {
	const good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for name, tt := range map[string]struct {
		given string
		takes bool
	}{
		"as in the specification": {good, true},
		"a later version":         {"fe" + good[2:], true},
		"not sampled":             {good[:54] + "0", true},
		"nothing":                 {"", false},
		"a bad version":           {"ff" + good[2:], false},
		"something behind it":     {good + "-x", false},
		"a digit less":            {good[:54], false},
		"no trace":                {"00-00000000000000000000000000000000-b7ad6b7169203331-01", false},
		"no span":                 {"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", false},
		"capitals":                {strings.ToUpper(good), false},
		"a letter behind f":       {strings.Replace(good, "b7", "g7", 1), false},
		"a character before 0":    {strings.Replace(good, "b7", "/7", 1), false},
		"a character behind 9":    {strings.Replace(good, "b7", ":7", 1), false},
		"a character before a":    {strings.Replace(good, "b7", "`7", 1), false},
		"a - that is elsewhere":   {strings.Replace(good, "b7", "-7", 1), false},
		"no -":                    {strings.Replace(good, "-b7", "0b7", 1), false},
		"no - and no digit":       {strings.Replace(good, "-b7", "xb7", 1), false},
	} {
		want := ""
		if tt.takes {
			want = tt.given
		}
		if got := web.TraceParent(http.Header{"Traceparent": {tt.given}}); got != want {
			t.Errorf("%s: %q is taken as %q, want %q", name, tt.given, got, want)
		}
	}
}

func TestTimeSpan(t *testing.T) {
	const day = 24 * time.Hour
	for _, tt := range []struct {
		in   time.Duration
		want string
	}{
		{-time.Second, "0 ms"},
		{57 * time.Millisecond, "57 ms"},
		{99 * time.Millisecond, "99 ms"},
		{100 * time.Millisecond, "0.1 sec"},
		{120 * time.Millisecond, "0.12 sec"},
		{300 * time.Millisecond, "0.3 sec"},
		{4900 * time.Millisecond, "4.9 sec"},
		{3 * time.Second, "3 sec"},
		{9500 * time.Millisecond, "9.5 sec"},
		{10500 * time.Millisecond, "10 sec"},
		{12500 * time.Millisecond, "12 sec"},
		{time.Minute - 1, "59 sec"},
		{time.Minute, "1 min 0 sec"},
		{9*time.Minute + 59*time.Second, "9 min 59 sec"},
		{10*time.Minute + 59*time.Second, "10 min"},
		{3*time.Minute + 43*time.Second, "3 min 43 sec"},
		{13*time.Minute + 43*time.Second, "13 min"},
		{2*time.Hour + 5*time.Minute, "2 hr 5 min"},
		{day + 3*time.Hour, "1 day 3 hr"},
		{12 * day, "12 days"},
		{65 * day, "2 mo 5 days"},
		{day, "1 day 0 hr"},
		{30 * day, "1 mo 0 days"},
		{31 * day, "1 mo 1 day"},
		{365 * day, "1 yr 0 mo"},
		{400 * day, "1 yr 1 mo"},
		{365*day + 59*day, "1 yr 1 mo"},
		{365*day + 60*day, "1 yr 2 mo"},
		{364 * day, "12 mo"},
		{29 * day, "29 days"},
		{23 * time.Hour, "23 hr"},
		{59*time.Minute + 59*time.Second, "59 min"},
	} {
		if got := web.TimeSpan(tt.in); got != tt.want {
			t.Errorf("TimeSpan(%v) = %q, want %q", tt.in, got, tt.want)
		}
	}
}

// segmentsOf returns the segments of a path, nil if there are none.
func segmentsOf(p web.Path) []string {
	var all []string
	for i := range p.Len() {
		all = append(all, p.At(i))
	}
	return all
}

func TestSplitPath(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		segments []string
		action   string
	}{
		{"nothing", "/", nil, ""},
		{"an action", "/buildByToken/build", []string{"buildByToken", "build"}, "build"},
		{"with a slash", "/buildByToken/build/", []string{"buildByToken", "build"}, "build"},
		{"with two", "/buildByToken/build//", []string{"buildByToken", "build"}, ""},
		{"with one inside", "/buildByToken//build", []string{"buildByToken", "build"}, ""},
		{"with a suffix", "/buildByToken/build/x", []string{"buildByToken", "build", "x"}, ""},
		{"escaped", "/a%2Fb/%63", []string{"a/b", "c"}, ""},
		{"an escaped action", "/buildByToken/%62uild", []string{"buildByToken", "build"}, "build"},
		{"not from the root", "buildByToken/build", []string{"buildByToken", "build"}, ""},
		{"malformed", "/a%2/b", []string{"a%2", "b"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := web.SplitPath(tt.in)
			segments := segmentsOf(p)
			action, _ := p.Action()
			if diff := cmp.Diff(tt.segments, segments); diff != "" || action != tt.action {
				t.Errorf("SplitPath(%q) gives action %q, want %q; segments (-want +got):\n%s", tt.in, action, tt.action, diff)
			}
		})
	}
}

func TestSharedPath(t *testing.T) {
	for path, want := range map[string]struct {
		id      string
		log, ok bool
	}{
		"/buildByToken/shared/x":      {"x", false, true},
		"/buildByToken/shared/x/":     {"x", false, true},
		"/buildByToken/shared/x/log":  {"x", true, true},
		"/buildByToken/shared/x/log/": {"x", true, true},
		"/buildByToken/shared":        {},
		"/buildByToken/shared/x/y":    {},
		"/buildByToken/shared//x":     {},
		"/buildByToken/build/x":       {},
		"/elsewhere/shared/x":         {},
	} {
		if id, log, ok := web.SplitPath(path).Shared(); id != want.id || log != want.log || ok != want.ok {
			t.Errorf("Shared of %s: %q, %v, %v; want %+v", path, id, log, ok, want)
		}
	}
}

func TestURLs(t *testing.T) {
	const base = "https://ci.example.com/ci/"
	for got, want := range map[string]string{
		web.JobURL(base, ""):                base,
		web.JobURL(base, "app/x y"):         base + "job/app/job/x%20y/",
		web.BuildURL(base, "app/deploy", 9): base + "job/app/job/deploy/9/",
		web.BuildURL(base, "a", 1210):       base + "job/a/1210/",
		web.ItemURL(base, 1210):             base + "queue/item/1210/",
		web.SharedURL(base, "x"):            base + "buildByToken/shared/x",
		web.Displayed("app/deploy"):         "app » deploy",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	for text, want := range map[string]int64{"1": 1, "1210": 1210, "9223372036854775807": 1<<63 - 1, "9223372036854775808": 0, "": 0, "0": 0, "01": 0, "-1": 0, "+1": 0, "9x": 0, "x": 0, ":1": 0, "/1": 0} {
		if n, ok := web.Number(text); ok != (want > 0) || ok && n != want {
			t.Errorf("Number(%q) = %d, %v, want %d, 0 for none", text, n, ok, want)
		}
	}
}

func TestJobPath(t *testing.T) {
	for _, tt := range []struct {
		name, in, full string
		rest           []string
	}{
		{"a job", "/job/a", "a", []string{}},
		{"in folders", "/job/a/job/b/job/c/3/api/json", "a/b/c", []string{"3", "api", "json"}},
		{"names like ours", "/job/job/job/build/build", "job/build", []string{"build"}},
		{"no name", "/job/", "", []string{"job"}},
		{"a name is missing", "/job/a/job", "a", []string{"job"}},
		{"an escaped slash", "/job/a%2Fb/build", "", []string{"build"}},
		{"an escaped slash further on", "/job/a/job/b%2Fc", "", []string{}},
		{"bytes that are no text", "/job/%ff/", "", []string{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			full, after := web.SplitPath(tt.in).Job()
			rest := append([]string{}, segmentsOf(after)...)
			if diff := cmp.Diff(tt.rest, rest); diff != "" || full != tt.full {
				t.Errorf("JobPath(%q) = %q, want %q; rest (-want +got):\n%s", tt.in, full, tt.full, diff)
			}
		})
	}
}

func TestOffset(t *testing.T) {
	for text, want := range map[string]int64{
		"": 0, "0": 0, "10": 10, "007": 7, "9223372036854775807": 1<<63 - 1,
		"9223372036854775808": -1, "-1": -1, "+1": -1, "1a": -1, "0x10": -1, " 1": -1, "1.0": -1,
	} {
		n, err := web.Offset(&text)
		if (err != nil) != (want < 0) || err == nil && n != want || err != nil && web.VerdictOf(err).Status != http.StatusBadRequest {
			t.Errorf("Offset(%q) = %d, %v, want %d, negative for a refusal", text, n, err, want)
		}
	}
	if n, err := web.Offset(nil); n != 0 || err != nil {
		t.Errorf("Offset(nil) = %d, %v, want 0", n, err)
	}
}

func TestWholeRunes(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want int
	}{
		{"", 0}, {"abc", 3}, {"a€", 4}, {"a\xe2\x82", 1}, {"a\xe2", 1}, {"\xf0\x9f\x98", 0}, {"a\x82\x82", 3}, {"a\xff", 2}, {"\x82\x82\x82\x82", 4}, {"a\xf0\x9f\x98", 1}, {"a\xe2b", 3},
	} {
		if got := web.WholeRunes([]byte(tt.in)); got != tt.want {
			t.Errorf("WholeRunes(%q) = %d, want %d", tt.in, got, tt.want)
		}
	}
}

func TestWhyAnItemWaits(t *testing.T) {
	for _, tt := range []struct {
		name      string
		in        queue.Blockage
		left, eta string
		want      string
	}{
		{"any executor", queue.Blockage{Reason: queue.NoExecutor}, "", "", "Waiting for next available executor"},
		{"one with a label", queue.Blockage{Reason: queue.NoExecutor, Label: "gpu"}, "", "", "Waiting for next available executor on ‘gpu’"},
		{"a remote build", queue.Blockage{Reason: queue.NoExecutor, Remote: true}, "", "", "Waiting for another remote build to end"},
		{"a node", queue.Blockage{Reason: queue.NoNode, Label: "gpu"}, "", "", "There are no nodes with the label ‘gpu’"},
		{"a server", queue.Blockage{Reason: queue.NoServer}, "", "", "No server has this job. Unless it comes back, the item ends as NOT_BUILT"},
		{"the quiet period", queue.Blockage{Reason: queue.QuietPeriod}, "", "", "In the quiet period"},
		{"the rest of the quiet period", queue.Blockage{Reason: queue.QuietPeriod}, "3 sec", "", "In the quiet period. Expires in 3 sec"},
		{"a build", queue.Blockage{Reason: queue.BuildRunning, Number: 129}, "", "", "Build #129 is already in progress"},
		{"a build whose end is estimated", queue.Blockage{Reason: queue.BuildRunning, Number: 129}, "", "N/A", "Build #129 is already in progress (ETA: N/A)"},
		{"a disabled job", queue.Blockage{Reason: queue.JobDisabled}, "", "", "The job is disabled"},
		{"something else", queue.Blockage{Reason: queue.RecordDamaged}, "", "", "Not started: " + string(queue.RecordDamaged)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := web.Why(queue.Entry{State: queue.Buildable, Blockage: tt.in}, tt.left, tt.eta); got != tt.want {
				t.Errorf("Why = %q, want %q", got, tt.want)
			}
			if got := web.Why(queue.Entry{State: queue.Left, Blockage: tt.in}, tt.left, tt.eta); got != "" {
				t.Errorf("Why of an item that has left = %q, want nothing", got)
			}
		})
	}
}

func TestPermalinks(t *testing.T) {
	ended := []queue.Ended{
		{Number: 8, Result: queue.Aborted},
		{Number: 6, Result: queue.Unstable},
		{Number: 5, Result: queue.Success},
		{Number: 2, Result: queue.Failure},
		{Number: 1, Result: queue.NotBuilt},
	}
	history := queue.Overview{Lane: queue.Lane{Running: []int64{7, 9}}, Summary: queue.Summary{Last: ended}, Oldest: 3}
	unstable := queue.Overview{Summary: queue.Summary{Last: []queue.Ended{{Number: 4, Result: queue.Unstable}}}, Oldest: 4}
	running := queue.Overview{Lane: queue.Lane{Running: []int64{1}}, Oldest: 1}
	for name, want := range map[string][4]int64{ // 0 if it leads nowhere
		"firstBuild":            {3, 4, 1, 0},
		"lastBuild":             {9, 4, 1, 0},
		"lastCompletedBuild":    {8, 4, 0, 0},
		"lastStableBuild":       {5, 0, 0, 0},
		"lastSuccessfulBuild":   {6, 4, 0, 0}, // as in Jenkins, an unstable build is successful
		"lastUnstableBuild":     {6, 4, 0, 0},
		"lastFailedBuild":       {0, 0, 0, 0}, // it was dropped
		"lastUnsuccessfulBuild": {8, 4, 0, 0},
		"lastNoBuild":           {0, 0, 0, 0},
	} {
		for i, o := range []queue.Overview{history, unstable, running, {}} {
			number, ok := web.Permalink(&o, name)
			if ok != (want[i] > 0) || ok && number != want[i] {
				t.Errorf("%s of %+v = %d, %v, want %d", name, o, number, ok, want[i])
			}
		}
	}
}

func TestStuck(t *testing.T) {
	now := time.Unix(1e9, 0)
	due := queue.Item{Due: now.Add(-time.Hour)}
	for _, tt := range []struct {
		name   string
		in     queue.Entry
		stuck  bool
		forAll bool // no server can run it
	}{
		{"no server has the label", queue.Entry{Item: due, State: queue.Buildable, Blockage: queue.Blockage{Reason: queue.NoNode}}, true, true},
		{"its record is damaged", queue.Entry{Item: due, State: queue.Blocked, Blockage: queue.Blockage{Reason: queue.RecordDamaged}}, true, true},
		{"no executor is free", queue.Entry{Item: due, State: queue.Buildable, Blockage: queue.Blockage{Reason: queue.NoExecutor}}, false, false},
		{"no executor was free for days", queue.Entry{Item: queue.Item{}, State: queue.Buildable, Blockage: queue.Blockage{Reason: queue.NoExecutor}}, true, false},
		{"a build runs for days", queue.Entry{Item: queue.Item{}, State: queue.Blocked, Blockage: queue.Blockage{Reason: queue.BuildRunning}}, false, false},
		{"no executor was free for a day", queue.Entry{Item: queue.Item{Due: now.Add(-24 * time.Hour)}, State: queue.Buildable, Blockage: queue.Blockage{Reason: queue.NoExecutor}}, false, false},
		{"no executor was free for longer", queue.Entry{Item: queue.Item{Due: now.Add(-24*time.Hour - 1)}, State: queue.Buildable, Blockage: queue.Blockage{Reason: queue.NoExecutor}}, true, false},
		{"no server has the job", queue.Entry{Item: due, State: queue.Buildable, Blockage: queue.Blockage{Reason: queue.NoServer}}, true, true},
		{"it has left", queue.Entry{Item: queue.Item{}, State: queue.Left}, false, false},
	} {
		if stuck, never := web.Stuck(now, tt.in), web.NeverRuns(tt.in); stuck != tt.stuck || never != tt.forAll {
			t.Errorf("%s: Stuck = %v, NeverRuns = %v, want %v, %v", tt.name, stuck, never, tt.stuck, tt.forAll)
		}
	}
}

// TestMissingControllerIsLoggedOnce sends requests while the queue cannot be opened, as probes do.
func TestMissingControllerIsLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.InfoLevel)
		site := &web.Site{Log: zap.New(core), Open: func() (*buildtoken.Controller, error) { return nil, errors.New("no database") }}
		for range 30 {
			q := site.Request(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
			if _, err := q.Controller(); !errors.Is(err, web.ErrNoController) {
				t.Errorf("Controller = %v, want %v", err, web.ErrNoController)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if n := logs.Len(); n != 3 {
			t.Errorf("%d lines in three seconds, want one a second", n)
		}
	})
}

// A client that waits as long as the header says does not come too early.
func TestRetryAfterIsRoundedUp(t *testing.T) {
	for wait, want := range map[time.Duration]string{
		0: "", 1: "1", time.Second - 1: "1", time.Second: "1", time.Second + 1: "2", 90 * time.Second: "90", 90*time.Second + 500*time.Millisecond: "91",
	} {
		w := httptest.NewRecorder()
		q := new(web.Site).Request(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/buildByToken/build", nil))
		end := q.Begin().End
		q.Fail(&definition.ThrottledError{Wait: wait})
		end()
		if got := w.Header().Get("Retry-After"); w.Code != http.StatusTooManyRequests || got != want {
			t.Errorf("after a wait of %v: %d, Retry-After %q, want 429, %q", wait, w.Code, got, want)
		}
	}
}
