package jenkins_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/web"
	"github.com/buildtoken/buildtoken/buildtoken/web/jenkins"
)

func TestPrune(t *testing.T) {
	for _, tt := range []struct {
		tree   string
		python bool
		want   string // "" for an error
	}{
		{"number", false, `{"_class":"A","number":7}`},
		{"nothing", false, `{"_class":"A"}`},
		{"one", false, `{"_class":"A","one":{"_class":"B"}}`},
		{"one[n,b]", false, `{"_class":"A","one":{"_class":"B","n":1,"b":true}}`},
		{"one[*]", true, `{"_class":"A","one":{"_class":"B","n":1,"s":"é\"\\\n\r\t ~\u0001\u001f\u007f\u2028\u2029�","b":True,"z":None}}`},
		{"list[n]{1}", false, `{"_class":"A","list":[{"_class":"B","n":1}]}`},
		{"list[n]{2,9}", false, `{"_class":"A","list":[{"_class":"B","n":1}]}`},
		{"list{,2}", false, `{"_class":"A","list":[{"_class":"B"},{"_class":"B"}]}`},
		{"list{,0}", false, `{"_class":"A","list":[]}`},
		{"list{0}", false, `{"_class":"A","list":[{"_class":"B"}]}`},
		{"list{3}", false, `{"_class":"A","list":[]}`},
		{"list{2,}", false, `{"_class":"A","list":[{"_class":"B"}]}`},
		{"texts{0,1}", false, `{"_class":"A","texts":["x"]}`},
		{"list[n,n[s]],list", false, `{"_class":"A","list":[{"_class":"B","n":1},{"_class":"B","n":1},{"_class":"B","n":1}]}`}, // the first counts
		{"*[n],*[s]{1}", false, `{"_class":"A","list":[{"_class":"B","n":1},{"_class":"B","n":1},{"_class":"B","n":1}],"texts":["x","y","z"],"one":{"_class":"B","n":1},"number":7}`},
		{"list{2,1}", false, `{"_class":"A","list":[]}`},
		{"list[b]{,1}", false, `{"_class":"A","list":[{"_class":"B","b":true}]}`}, // more than the link shows
		{"list[*]{,1}", false, `{"_class":"A","list":[{"_class":"B","n":1,"s":"é\"\\\n\r\t ~\u0001\u001f\u007f\u2028\u2029�","b":true,"z":null}]}`},
		{"texts{1,}", false, `{"_class":"A","texts":["y","z"]}`},
		{"hidden[n]", false, `{"_class":"A","hidden":[{"_class":"B","n":1}]}`},
		{"*[n],number", false, `{"_class":"A","list":[{"_class":"B","n":1},{"_class":"B","n":1},{"_class":"B","n":1}],"texts":["x","y","z"],"one":{"_class":"B","n":1},"number":7}`},
		{"", false, ""},
		{",", false, ""},
		{"a,", false, ""},
		{"a[", false, ""},
		{"a[]", false, ""},
		{"a]", false, ""},
		{"a[b]c", false, ""},
		{"a{", false, ""},
		{"a{}", false, ""},
		{"a{,}", false, ""},
		{"a{1,2,3}", false, ""},
		{"a{99999999999}", false, ""},
		{"list{1073741823}", false, `{"_class":"A","list":[]}`},
		{"a{1073741824}", false, ""},
		{"a{1", false, ""},
		{"a{-1}", false, ""},
		{"a{1,x}", false, ""},
		{strings.Repeat("a[", 32) + "a" + strings.Repeat("]", 32), false, `{"_class":"A"}`},
		{strings.Repeat("a[", 33) + "a" + strings.Repeat("]", 33), false, ""},
		{strings.Repeat("a", 16<<10), false, `{"_class":"A"}`},
		{strings.Repeat("a", 16<<10+1), false, ""},
	} {
		got, err := jenkins.Prune(tt.tree, tt.python)
		if (err != nil) != (tt.want == "") || got != tt.want {
			t.Errorf("Prune(%.40q) = %s, %v, want %s", tt.tree, got, err, tt.want)
		}
	}
}

// One request for all builds of all jobs must not take all of the memory.
func TestPruneIsBounded(t *testing.T) {
	const tree = "jobs[builds[number,url]]"
	// Five properties of all builds of 5000 jobs are allowed, and not many more; see docs/security.md.
	for jobs, want := range map[int]int{5000: 0, 7000: http.StatusBadRequest} {
		kept, before := 0, 0
		err := jenkins.PruneMany(t.Context(), "jobs[builds[number,url,result,timestamp,duration]]", jobs, func(n int) error {
			before, kept = kept, kept+n
			return nil
		})
		if (err == nil) != (want == 0) || err != nil && web.VerdictOf(err).Status != want {
			t.Errorf("five properties of %d jobs: %v, want status %d", jobs, err, want)
		}
		if refused := err != nil; (kept > 256<<20) != refused || before > 256<<20 {
			t.Errorf("five properties of %d jobs keep %d bytes, and %d before the last; refused: %v", jobs, kept, before, refused)
		}
	}
	kept := 0
	if err := jenkins.PruneMany(t.Context(), tree, 3000, func(n int) error { kept += n; return nil }); err != nil {
		t.Errorf("3000 jobs: %v", err)
	}
	if least := 3000 * 100 * len("https://ci.example.com/job/a/7/"); kept < least {
		t.Errorf("3000 jobs keep %d bytes, want at least the texts, %d", kept, least)
	}
	if err := jenkins.PruneMany(t.Context(), tree, 20_000, func(int) error { return nil }); web.VerdictOf(err).Status != http.StatusBadRequest {
		t.Errorf("20,000 jobs: %v, want 400", err)
	}
	kept = 0
	err := jenkins.PruneMany(t.Context(), tree, 20_000, func(n int) error {
		if kept += n; kept > 1<<20 {
			return web.ErrCrowded
		}
		return nil
	})
	if !errors.Is(err, web.ErrCrowded) || kept > 2<<20 {
		t.Errorf("no room: %v after %d bytes, want ErrCrowded at once", err, kept)
	}
	gone, cancel := context.WithCancel(t.Context())
	kept = 0
	err = jenkins.PruneMany(gone, tree, 20_000, func(n int) error {
		if kept += n; kept > 1<<20 {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) || kept > 2<<20 {
		t.Errorf("a client that leaves: %v after %d bytes, want the end of its context at once", err, kept)
	}
}

// FuzzTree applies any tree parameter; the result must be JSON.
func FuzzTree(f *testing.F) {
	for _, seed := range []string{"a", "list[n]{1,2},one[*]", "*[*[*]]", "hidden{,1}", "a[b[c[d]]]{3}", "texts{1,}", "a{1", "[", "{}", "jobs[name,color,url]", "builds[number,url]{0,10}"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, tree string) {
		text, err := jenkins.Prune(tree, false)
		if err == nil && !json.Valid([]byte(text)) {
			t.Errorf("Prune(%q) = %s", tree, text)
		}
	})
}

func TestUnstableIsYellow(t *testing.T) {
	lane := queue.Lane{Last: queue.Unstable, LastEnded: 1}
	if got := jenkins.Color(lane); got != "yellow" {
		t.Errorf("color %q, want yellow", got)
	}
	lane.Running = []int64{2}
	if got := jenkins.Color(lane); got != "yellow_anime" {
		t.Errorf("color %q while a build runs, want yellow_anime", got)
	}
}

// The health report is that of the last five builds that came to a verdict.
func TestHealth(t *testing.T) {
	const s, f, u, a, n = queue.Success, queue.Failure, queue.Unstable, queue.Aborted, queue.NotBuilt
	report := func(score int, icon, text string) string {
		return fmt.Sprintf(`[{"description":"Build stability: %[3]s","iconClassName":"icon-health-%[2]s","iconUrl":"health-%[2]s.png","score":%[1]d}]`, score, icon, text)
	}
	for _, tt := range []struct {
		results []queue.Result // the newest first
		want    string
	}{
		{nil, "[]"},
		{[]queue.Result{"", a, n}, "[]"},
		{[]queue.Result{s}, report(100, "80plus", "No recent builds failed.")},
		{[]queue.Result{f}, report(0, "00to19", "All recent builds failed.")},
		{[]queue.Result{"", a, u, n}, report(100, "80plus", "No recent builds failed.")},
		{[]queue.Result{f, f, f, f, f, s}, report(0, "00to19", "All recent builds failed.")},
		{[]queue.Result{s, f, f, f, f}, report(20, "20to39", "4 out of the last 5 builds failed.")},
		{[]queue.Result{f, f, f, s, s}, report(40, "40to59", "3 out of the last 5 builds failed.")},
		{[]queue.Result{f, s, f}, report(33, "20to39", "2 out of the last 3 builds failed.")},
		{[]queue.Result{s, s, s, f, f}, report(60, "60to79", "2 out of the last 5 builds failed.")},
		{[]queue.Result{s, s, s, f, s, f}, report(80, "80plus", "1 out of the last 5 builds failed.")},
		{[]queue.Result{s, s, s, s, s, f}, report(100, "80plus", "No recent builds failed.")},
	} {
		if got := jenkins.Health(tt.results...); got != tt.want {
			t.Errorf("health after %q:\n%s, want\n%s", tt.results, got, tt.want)
		}
	}
}

// Clients recognise the kind of a cause by its class.
func TestClassesOfCauses(t *testing.T) {
	for _, tt := range []struct {
		cause queue.Cause
		want  string
	}{
		{queue.Cause{Kind: queue.CauseRemote, Addr: "192.0.2.1"}, `{"_class":"hudson.model.Cause$RemoteCause","shortDescription":"%s","addr":"192.0.2.1","note":null}`},
		{queue.Cause{Kind: queue.CauseRemote, Addr: "192.0.2.1", Noted: true}, `{"_class":"hudson.model.Cause$RemoteCause","shortDescription":"%s","addr":"192.0.2.1","note":""}`},
		{queue.Cause{Kind: queue.CauseUser, User: "alice"}, `{"_class":"hudson.model.Cause$UserIdCause","shortDescription":"%s","userId":"alice","userName":"alice"}`},
		{queue.Cause{Kind: queue.CauseUser}, `{"_class":"hudson.model.Cause$UserIdCause","shortDescription":"%s","userId":null,"userName":""}`},
		{queue.Cause{Kind: queue.CauseSCM}, `{"_class":"hudson.triggers.SCMTrigger$SCMTriggerCause","shortDescription":"%s"}`},
		{queue.Cause{Kind: queue.CauseTimer}, `{"_class":"hudson.triggers.TimerTrigger$TimerTriggerCause","shortDescription":"%s"}`},
		{queue.Cause{Kind: queue.CauseWebhook}, `{"_class":"hudson.model.Cause","shortDescription":"%s"}`},
	} {
		tt.cause.Count = 1
		want := "[" + fmt.Sprintf(tt.want, tt.cause) + "]"
		if got := jenkins.Causes(queue.Item{Causes: []queue.Cause{tt.cause}}); got != want {
			t.Errorf("%+v:\n%s, want\n%s", tt.cause, got, want)
		}
	}
}

// A cause that came often is repeated, within bounds.
func TestRepeatedCauses(t *testing.T) {
	for count, want := range map[int]int{1: 1, 20: 20, 21: 20} {
		got := jenkins.Causes(queue.Item{Causes: []queue.Cause{{Kind: queue.CauseTimer, Count: count}}})
		if n := strings.Count(got, "TimerTriggerCause"); n != want {
			t.Errorf("a cause that came %d times is there %d times, want %d: %s", count, n, want, got)
		}
	}
	if got := jenkins.Causes(queue.Item{MoreCauses: 1}); got != `[{"_class":"hudson.model.Cause","shortDescription":"Started by 1 more triggers"}]` {
		t.Errorf("one cause more: %s", got)
	}
}
