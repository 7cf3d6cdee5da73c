package pages_test

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

// ends returns a runner whose n-th build takes n seconds and ends with one of the outcomes, in
// turn.
func ends(outcomes ...runner.Outcome) run {
	n := 0
	return func(context.Context, runner.Build, io.Writer) runner.Result {
		n++
		time.Sleep(time.Duration(n) * time.Second)
		return runner.Result{Outcome: outcomes[(n-1)%len(outcomes)]}
	}
}

func TestTrend(t *testing.T) {
	onSite(t, jobs(at("app", ends(runner.Success, runner.Failure, runner.Unstable, runner.Aborted))), func(s *site) {
		s.lacks(s.page("/job/app/"), "<svg viewBox=\"0 0 3", "Trend")
		build := func() {
			s.trigger("app", nil)
			time.Sleep(time.Minute)
		}
		build()
		page := s.page("/job/app/")
		s.holds(page, "Durations of the last 1 build, oldest first: 1 succeeded, the longest took 1.0 s", "100 % of 1<", "<dt>Last success</dt>")
		s.lacks(page, "Failing since", "Last failure")
		s.lacks(s.page("/"), "<small>") // there is nothing to worry about
		build()
		build()
		s.holds(s.page("/job/app/"), "<dt>Median of 3</dt><dd>2.0 s</dd>")
		build()
		s.holds(s.page("/"), " <small>33 %</small>", `title="1 of the last 4 builds succeeded"><i class="dot-success"></i><i class="dot-failure"></i><i class="dot-unstable"></i><i class="dot-aborted"></i></span>`)
		page = s.page("/job/app/")
		s.holds(page,
			`viewBox="0 0 300 72"`, "Durations of the last 4 builds, oldest first: 1 succeeded, the longest took 4.0 s",
			`<a href="/ci/job/app/4/" aria-label="#4 Aborted, took 4.0 s, `, `<title>#1 Success, took 1.0 s, `,
			`x="30" y="0" width="8" height="60"`, `x="0" y="43" width="8" height="17"`,
			`33 % of 3<span class="quiet">, without those aborted or not built`, "<dt>Median of 4</dt><dd>2.5 s</dd>",
			`<dt>Usual</dt><dd>2.0 s<span class="quiet">, the mean of the last successes`, `<dt>Failing since</dt><dd class="state-failure"><a href="/ci/job/app/2/">#2</a>`,
			`<dt>Last success</dt><dd><a href="/ci/job/app/1/">#1</a>`, `<dt>Last failure</dt><dd><a href="/ci/job/app/2/">#2</a>`)
		for range 31 {
			build()
		}
		page = s.page("/job/app/")
		if n := strings.Count(page, `class="hit"`); n != 30 {
			s.Errorf("%d bars, want 30", n)
		}
		s.holds(page, "#35 Unstable", "#6 Failed")
		s.lacks(page, "#5 Success,")
		s.holds(s.page("/"), `title="2 of the last 10 builds succeeded"`, `<i class="dot-success"></i><i class="dot-failure"></i><i class="dot-unstable"></i></span>`)
	})
}

// A build that was dropped stays in the chart, without a link.
func TestTrendLinksOnlyWhatIsThere(t *testing.T) {
	app := at("app", ends(runner.Success, runner.Failure))
	keep := 2
	app.Settings.KeepBuilds = &keep
	var c counted
	onQueue(t, jobs(app), func(q buildtoken.Queue) buildtoken.Queue { c.Queue = q; return &c }, func(s *site) {
		for range 4 {
			s.trigger("app", nil)
			time.Sleep(time.Minute)
		}
		page := s.page("/job/app/")
		s.holds(page, `<g class="state-success"><title>#1 Success`, `<a href="/ci/job/app/3/" aria-label="#3 Success`, "50 % of 4")
		s.lacks(page, `/ci/job/app/1/`, `/ci/job/app/2/`)
		c.builds.Store(0)
		if got := rowKeys(s.page("/?by=")); got != "app/4/ app/3/" || c.builds.Load() != 2 {
			s.Errorf("the list has %s, and %d records were read; want app/4/ app/3/ and 2", got, c.builds.Load())
		}
		s.trigger("app", nil) // the chart shows builds that have ended
		s.lacks(s.page("/job/app/"), "#5 Running,")
	})
}

// The share of successes is rounded, and aborted builds have no part in it.
func TestShareOfSuccesses(t *testing.T) {
	const s, f, a = runner.Success, runner.Failure, runner.Aborted
	for _, tt := range []struct {
		outcomes []runner.Outcome
		want     string
	}{
		{[]runner.Outcome{s, f, s}, "<dd>67 % of 3</dd>"},
		{[]runner.Outcome{f, f, s}, "<dd>33 % of 3</dd>"},
		{[]runner.Outcome{s, a, f, a, s}, "<dd>67 % of 3<span"},
		{[]runner.Outcome{f}, `<dt>Usual</dt><dd>1.0 s<span class="quiet">, as the last build<`},
	} {
		onSite(t, jobs(at("app", ends(tt.outcomes...))), func(site *site) {
			for range tt.outcomes {
				site.trigger("app", nil)
				time.Sleep(time.Minute)
			}
			site.holds(site.page("/job/app/"), tt.want)
		})
	}
	onSite(t, jobs(at("app", ends(a))), func(site *site) {
		site.trigger("app", nil)
		time.Sleep(time.Minute)
		site.holds(site.page("/job/app/"), "Median of 1")
		site.lacks(site.page("/job/app/"), "<dt>Succeeded</dt>")
	})
	onSite(t, jobs(at("app", writes(""))), func(site *site) { // a build without a duration
		site.trigger("app", nil)
		site.holds(site.page("/job/app/"), `x="0" y="57" width="8" height="3"`)
		site.holds(site.page("/"), `<td class="number">0 ms</td>`)
	})
}

// Successes in a row are one element, so that pages of many jobs stay small.
func TestDotsOfSuccessesInARow(t *testing.T) {
	const s, f = runner.Success, runner.Failure
	for _, tt := range []struct {
		outcomes []runner.Outcome
		want     string
	}{
		{[]runner.Outcome{s, s, s}, `<i class="dot-success x3"></i></span>`},
		{[]runner.Outcome{s, s, f}, `<i class="dot-success x2"></i><i class="dot-failure"></i></span>`},
		{[]runner.Outcome{f, s, f, s, s}, `<i class="dot-failure"></i><i class="dot-success"></i><i class="dot-failure"></i><i class="dot-success x2"></i></span>`},
		{[]runner.Outcome{f, s, s, s, s, s, s, s, s, s, s}, `succeeded"><i class="dot-success x10"></i></span>`},
	} {
		onSite(t, jobs(at("app", ends(tt.outcomes...))), func(site *site) {
			for range tt.outcomes {
				site.trigger("app", nil)
				time.Sleep(time.Minute)
			}
			site.holds(site.page("/"), tt.want)
		})
	}
}
