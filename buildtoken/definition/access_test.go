package definition_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/policy"
)

// siteWith returns a site with jobs 0, 1, … and a read rule.
func siteWith(t testing.TB, jobs int, read string) *definition.Site {
	t.Helper()
	var root definition.Folder
	for n := range jobs {
		root.Jobs = append(root.Jobs, definition.Job{Name: fmt.Sprint(n), Runner: nothing{}})
	}
	site, err := definition.Compile(definition.Spec{Root: root, Access: definition.Access{Read: read}})
	if err != nil {
		t.Fatal(err)
	}
	return site
}

// A rule is evaluated as often as its decision can differ, while the budget lasts. Evaluations
// only ask for the request when they need it.
func TestCheckerBoundsTheWorkOfOneRequest(t *testing.T) {
	const jobs = 5000
	// The longest possible header, and a search through all of it.
	dear := `request.headers["x"].contains("z")`
	for _, tt := range []struct {
		name, read string
		least      int // evaluations
		most       int
		may        func(job string) bool // nil: any decision
	}{
		{"the default", "", 1, 1, func(string) bool { return false }},
		{"a rule that does not mention job", "!" + dear, 1, 1, func(string) bool { return true }},
		{"a rule that mentions job", `job.name == "7" || job.name == "4999"`, jobs, jobs, func(job string) bool { return job == "7" || job == "4999" }},
		{"a dear rule that mentions job", `!` + dear + ` && job.name != ""`, 1, 2500, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			site := siteWith(t, jobs, tt.read)
			evaluations := 0
			request := policy.Request{Headers: map[string]string{"x": strings.Repeat("a", 16<<10)}}
			checker := site.Checker(definition.Caller{Request: func() policy.Request {
				evaluations++
				return request
			}})
			for range 2 { // a stream renders its page again and again
				for n := range jobs {
					may := checker.May(t.Context(), definition.Read, fmt.Sprint(n))
					if tt.may != nil && may != tt.may(fmt.Sprint(n)) {
						t.Fatalf("May(%d) = %v", n, may)
					}
				}
			}
			if checker.May(t.Context(), definition.Read, "4999") && tt.may == nil {
				t.Error("a rule is true although the budget is used up")
			}
			if evaluations < tt.least || tt.most < evaluations {
				t.Errorf("%d evaluations, want from %d to %d", evaluations, tt.least, tt.most)
			}
		})
	}
}

// BenchmarkChecker measures the access checks of a page with 5000 jobs.
func BenchmarkChecker(b *testing.B) {
	for _, read := range []string{`user == ""`, `job.folder == "team" || request.headers["x"].contains("z")`} {
		b.Run(read, func(b *testing.B) {
			site := siteWith(b, 5000, read)
			request := policy.Request{Headers: map[string]string{"x": strings.Repeat("a", 16<<10)}}
			by := definition.Caller{Request: func() policy.Request { return request }}
			b.ReportAllocs()
			for b.Loop() {
				checker := site.Checker(by)
				for full := range site.Jobs() {
					checker.May(b.Context(), definition.Read, full)
				}
			}
		})
	}
}
