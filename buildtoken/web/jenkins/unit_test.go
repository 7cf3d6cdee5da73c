package jenkins_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/web/jenkins"
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
		{"JSON beside everything", []string{"*/*, application/json"}, true},
		{"another kind of JSON", []string{"application/problem+json"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := jenkins.Prefers(tt.accept, "application/json"); got != tt.want {
				t.Errorf("Prefers(%q) = %v, want %v", tt.accept, got, tt.want)
			}
		})
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
		{120 * time.Millisecond, "0.12 sec"},
		{300 * time.Millisecond, "0.3 sec"},
		{4900 * time.Millisecond, "4.9 sec"},
		{3 * time.Second, "3 sec"},
		{12500 * time.Millisecond, "12 sec"},
		{3*time.Minute + 43*time.Second, "3 min 43 sec"},
		{13*time.Minute + 43*time.Second, "13 min"},
		{2*time.Hour + 5*time.Minute, "2 hr 5 min"},
		{day + 3*time.Hour, "1 day 3 hr"},
		{12 * day, "12 days"},
		{65 * day, "2 mo 5 days"},
		{400 * day, "1 yr 1 mo"},
	} {
		if got := jenkins.TimeSpan(tt.in); got != tt.want {
			t.Errorf("TimeSpan(%v) = %q, want %q", tt.in, got, tt.want)
		}
	}
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
		{"escaped", "/a%2Fb/%63", []string{"a/b", "c"}, "c"},
		{"not from the root", "buildByToken/build", []string{"buildByToken", "build"}, ""},
		{"malformed", "/a%2/b", []string{"a%2", "b"}, "b"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			segments, action := jenkins.SplitPath(tt.in)
			if diff := cmp.Diff(tt.segments, segments); diff != "" || action != tt.action {
				t.Errorf("SplitPath(%q) gives action %q, want %q; segments (-want +got):\n%s", tt.in, action, tt.action, diff)
			}
		})
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
			full, rest := jenkins.JobPath(tt.in)
			if diff := cmp.Diff(tt.rest, rest); diff != "" || full != tt.full {
				t.Errorf("JobPath(%q) = %q, want %q; rest (-want +got):\n%s", tt.in, full, tt.full, diff)
			}
		})
	}
}

func TestReadForm(t *testing.T) {
	const form, multi = "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"
	part := func(disposition, content string) string {
		return "--x\r\nContent-Disposition: form-data; " + disposition + "\r\n\r\n" + content + "\r\n"
	}
	for _, tt := range []struct {
		name, query, contentType, body string
		want                           jenkins.Form
		problem                        string
	}{
		{"nothing", "", "", "", jenkins.Form{}, ""},
		{"query before form", "A=1&A=2&B", form, "A=3&&C=%26+", jenkins.Form{Values: map[string][]string{"A": {"1", "2", "3"}, "B": {""}, "C": {"& "}}}, ""},
		{"a token is no value", "token=", form, "token=x", jenkins.Form{Presented: true}, ""},
		{"JSON is left alone", "A=1", "application/json", `{"A": 2}`, jenkins.Form{Values: map[string][]string{"A": {"1"}}}, ""},
		{"a type that can't be read", "A=1", "application/x-www-form-urlencoded;;=", "A=2", jenkins.Form{Values: map[string][]string{"A": {"1"}}}, ""},
		{"too many", strings.Repeat("A&", 10_001), "", "", jenkins.Form{}, "too many parameters, at most 10000"},
		{"too many together", strings.Repeat("A&", 5_000), form, strings.Repeat("B&", 5_001), jenkins.Form{}, "too many parameters, at most 10000"},
		{"just enough", strings.Repeat("token&", 10_000), "", "", jenkins.Form{Presented: true}, ""},
		{"too large", "", form, strings.Repeat("A", 100_001), jenkins.Form{}, "the body is larger than 100000 bytes"},
		{"too large before malformed", "%", form, strings.Repeat("A", 100_001), jenkins.Form{}, "the body is larger than 100000 bytes"},
		{"both malformed", "%", form, "%", jenkins.Form{}, "malformed query: a % must be followed by two hexadecimal digits"},
		{"delay is no text", "delay=%ff", "", "", jenkins.Form{}, "delay is not valid UTF-8"},
		{"a form in parts", "A=1", multi, part(`name="A"`, "2") + part(`name="F"; filename="f"`, "3") + "--x--", jenkins.Form{Values: map[string][]string{"A": {"1", "2"}}, Files: []string{"F"}}, ""},
		{"parts that are too many", "", multi, strings.Repeat(part(`name="A"`, ""), 1500) + "--x--", jenkins.Form{}, "the multipart body has too many parts, or too large ones"},
		{"parts that are too large", "", multi, part(`name="A"`, strings.Repeat("A", 100_001)) + "--x--", jenkins.Form{}, "the body is larger than 100000 bytes"},
		{"a part without an end", "", multi, part(`name="A"`, "2"), jenkins.Form{}, "malformed multipart body"},
		{"a file whose parameter is no text", "", multi, part("name=\"F\xff\"; filename=\"f\"", "3") + "--x--", jenkins.Form{}, "the name of a file is not valid UTF-8"},
		{"other parts are left alone", "", "multipart/mixed; boundary=x", part(`name="A"`, "2") + "--x--", jenkins.Form{}, ""},
		{"NUL in a name", "a%00=1", "", "", jenkins.Form{}, "the name of a parameter holds a NUL character"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(tt.body))
			r.URL.RawQuery = tt.query
			r.Header.Set("Content-Type", tt.contentType)
			got, err := jenkins.ReadForm(r, 100_000)
			if tt.problem != "" {
				if err == nil || err.Error() != tt.problem {
					t.Errorf("ReadForm: %v, want %q", err, tt.problem)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("ReadForm (-want +got):\n%s", diff)
			}
		})
	}
}

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
		{"one[*]", true, `{"_class":"A","one":{"_class":"B","n":1,"s":"é\"\\\n\u2028\u0001","b":True,"z":None}}`},
		{"list[n]{1}", false, `{"_class":"A","list":[{"_class":"B","n":1}]}`},
		{"list[n]{2,9}", false, `{"_class":"A","list":[{"_class":"B","n":1}]}`},
		{"list{,2}", false, `{"_class":"A","list":[{"_class":"B"},{"_class":"B"}]}`},
		{"list{2,1}", false, `{"_class":"A","list":[]}`},
		{"list[b]{,1}", false, `{"_class":"A","list":[{"_class":"B","b":true}]}`}, // more than the link shows
		{"list[*]{,1}", false, `{"_class":"A","list":[{"_class":"B","n":1,"s":"é\"\\\n\u2028\u0001","b":true,"z":null}]}`},
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
		{"a{}", false, ""},
		{"a{,}", false, ""},
		{"a{1,2,3}", false, ""},
		{"a{99999999999}", false, ""},
		{strings.Repeat("a[", 40) + "a" + strings.Repeat("]", 40), false, ""},
		{strings.Repeat("a", 20_000), false, ""},
	} {
		got, err := jenkins.Prune(tt.tree, tt.python)
		if (err != nil) != (tt.want == "") || got != tt.want {
			t.Errorf("Prune(%.40q) = %s, %v, want %s", tt.tree, got, err, tt.want)
		}
	}
}

func TestWholeRunes(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want int
	}{
		{"", 0}, {"abc", 3}, {"a€", 4}, {"a\xe2\x82", 1}, {"a\xe2", 1}, {"\xf0\x9f\x98", 0}, {"a\x82\x82", 3}, {"a\xff", 2}, {"\x82\x82\x82\x82", 4},
	} {
		if got := jenkins.WholeRunes(tt.in); got != tt.want {
			t.Errorf("WholeRunes(%q) = %d, want %d", tt.in, got, tt.want)
		}
	}
}

func TestWhyAnItemWaitsForANode(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   queue.Blockage
		want string
	}{
		{"any executor", queue.Blockage{Reason: queue.NoExecutor}, "Waiting for next available executor"},
		{"one with a label", queue.Blockage{Reason: queue.NoExecutor, Label: "gpu"}, "Waiting for next available executor on ‘gpu’"},
		{"a node", queue.Blockage{Reason: queue.NoNode, Label: "gpu"}, "There are no nodes with the label ‘gpu’"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := jenkins.Why(time.Time{}, queue.Entry{State: queue.Buildable, Blockage: tt.in}, ""); got != tt.want {
				t.Errorf("Why = %q, want %q", got, tt.want)
			}
		})
	}
}

func TestUnstableIsAsInJenkins(t *testing.T) {
	lane := queue.Lane{Last: queue.Unstable, LastEnded: 1}
	if got := jenkins.Color(lane); got != "yellow" {
		t.Errorf("color %q, want yellow", got)
	}
	lane.Running = []int64{2}
	if got := jenkins.Color(lane); got != "yellow_anime" {
		t.Errorf("color %q while a build runs, want yellow_anime", got)
	}
	for permalink, leads := range map[string]bool{
		"lastCompletedBuild": true, "lastSuccessfulBuild": true, "lastUnstableBuild": true, "lastUnsuccessfulBuild": true,
		"lastStableBuild": false, "lastFailedBuild": false,
	} {
		if got := jenkins.Marked(permalink, queue.Unstable); got != leads {
			t.Errorf("%s leads to an unstable build: %v, want %v", permalink, got, leads)
		}
	}
}
