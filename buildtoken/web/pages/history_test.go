package pages_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

func TestHistoryOfOneState(t *testing.T) {
	n := 0
	alternate := run(func(context.Context, runner.Build, io.Writer) runner.Result {
		n++
		return runner.Result{Outcome: []runner.Outcome{runner.Success, runner.Failure, runner.Unstable}[n%3]}
	})
	onSite(t, jobs(at("app", alternate)), func(s *site) {
		for range 90 {
			s.trigger("app", nil)
		}
		rows := func(page string) []string {
			var all []string
			for _, part := range strings.Split(page, `<tr data-key="`)[1:] {
				number, _, _ := strings.Cut(part, `"`)
				all = append(all, number)
			}
			return all
		}
		page := s.page("/job/app/?state=failure")
		if got := rows(page); len(got) != 25 || got[0] != "88" || got[24] != "16" {
			s.Errorf("failed builds are %v, want 25 from 88 to 16", got)
		}
		s.holds(page, `<option value="failure" selected>Failed</option>`, `href="/ci/job/app/?before=16&amp;state=failure#history-title" aria-keyshortcuts="p">Older builds`)
		s.lacks(page, "Newest builds", `data-region="history"`)
		page = s.page("/job/app/?before=16&state=failure")
		if got := strings.Join(rows(page), " "); got != "13 10 7 4 1" {
			s.Errorf("older failed builds are %s, want 13 10 7 4 1", got)
		}
		s.holds(page, `href="/ci/job/app/?state=failure#history-title" aria-keyshortcuts="n">Newest builds`)
		s.lacks(page, "Older builds")
		for _, state := range []string{"running", "aborted", "not_built"} {
			page := s.page("/job/app/?state=" + state)
			s.holds(page, "No such builds.", fmt.Sprintf(`<option value="%s" selected>`, state))
		}
		for _, state := range []string{"success", "unstable"} {
			if got := rows(s.page("/job/app/?state=" + state)); len(got) != 25 {
				s.Errorf("%s: %d builds, want 25", state, len(got))
			}
		}
		// Without a state, or with an unknown one, all builds are shown, and they are updated.
		for _, query := range []string{"?state=", "?state=evil%22", ""} {
			page := s.page("/job/app/" + query)
			if got := rows(page); len(got) != 25 || got[0] != "90" {
				s.Errorf("%q shows %v", query, got)
			}
			s.holds(page, `data-region="history"`, `href="/ci/job/app/?before=66#history-title" aria-keyshortcuts="p">Older builds`)
			s.lacks(page, "evil", " selected")
		}
	})
}

func TestHistoryOfRunningBuilds(t *testing.T) {
	onSite(t, jobs(at("app", hangs(""))), func(s *site) {
		s.trigger("app", nil)
		page := s.page("/job/app/?state=running")
		s.holds(page, `<tr data-key="1">`, `<option value="running" selected>`)
		s.holds(s.page("/job/app/?state=aborted"), "No such builds.")
	})
}

func TestHistoryShowsTheNoteFirst(t *testing.T) {
	onSite(t, jobs(at("app", writes(""))), func(s *site) {
		s.trigger("app", nil)
		if _, err := s.ctl.Trigger(s.Context(), s.def, buildtoken.Trigger{
			Caller: definition.Caller{User: "alice", Post: true}, Action: buildtoken.Build, Job: "app", UserMayTrigger: true, Root: root,
		}); err != nil {
			s.Fatal(err)
		}
		s.settle()
		const alice = `Started by user <a href="/ci/job/app/?by=user%3Aalice#history-title" class="by" title="Builds by alice"><bdi>alice</bdi></a>`
		s.holds(s.page("/job/app/"), `<bdi>push</bdi> <span class="quiet">· `+alice+`</span>`, `class="cause">`+alice+`</td>`)
	})
}

func TestListsShowHowLongBuildsTook(t *testing.T) {
	slow := run(func(context.Context, runner.Build, io.Writer) runner.Result {
		time.Sleep(90 * time.Second)
		return runner.Result{Outcome: runner.Success}
	})
	onSite(t, jobs(at("app", slow)), func(s *site) {
		s.trigger("app", nil)
		for _, path := range []string{"/job/app/", "/?by="} {
			s.holds(s.page(path), `<td data-label="Took" class="number"><time `)
		}
		time.Sleep(90 * time.Second)
		for _, path := range []string{"/job/app/", "/?by="} {
			s.holds(s.page(path), `<td data-label="Took" class="number">1 min 30 s</td>`)
		}
		s.holds(s.page("/"), `<td class="number">1 min 30 s</td>`)
	})
}
