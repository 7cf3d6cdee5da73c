package pages

import (
	"net/url"
	"strconv"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// Limits of a job's history.
const (
	buildsShown = 25    // builds on one page of it
	searchStep  = 100   // builds that are read at once to find those in a state
	maxSearched = 2_000 // builds that are looked at for one page
)

// buildRow is a build in a list.
type buildRow struct {
	Number  int64
	URL     string
	State   mark
	Started time.Time
	Took    time.Duration
	Running bool
	Cause   firstCause
	// Params tell the build from the others that are shown.
	Params chipsView
}

// historyView is the region with a job's builds.
type historyView struct {
	Action string
	// States are the choices of the form that shows builds in one state, State the chosen one.
	States []stateChoice
	State  string
	Builds []buildRow
	// Newer and Older are other pages; "" if there are none.
	Newer, Older string
}

// stateChoice is a state as the query has it, and as people read it.
type stateChoice struct {
	Value, Word string
	fits        func(queue.Build) bool
}

//nolint:gochecknoglobals // a constant table
var stateChoices = []stateChoice{
	{"running", "Running", queue.Build.Running},
	resultChoice("success", queue.Success), resultChoice("unstable", queue.Unstable), resultChoice("failure", queue.Failure),
	resultChoice("aborted", queue.Aborted), resultChoice("not_built", queue.NotBuilt),
}

func resultChoice(value string, r queue.Result) stateChoice {
	return stateChoice{value, resultMark(r).Word, func(b queue.Build) bool { return !b.Running() && b.Result == r }}
}

// history returns the page of the job's builds that the query selects. fixed is set if the
// query selects older builds or only some of them: such a list is not updated live, so that
// its rows do not move while someone reads them.
func (v *visit) history(full, at string) (view historyView, fixed bool, err error) {
	query := v.R.URL.Query()
	before, paged := web.Number(query.Get("before"))
	view = historyView{Action: at, States: stateChoices}
	kept := url.Values{}
	fits := func(queue.Build) bool { return true }
	step, most := buildsShown+1, buildsShown+1
	for _, c := range stateChoices {
		if c.Value == query.Get("state") {
			view.State, fits = c.Value, c.fits
			kept.Set("state", c.Value)
			step, most = searchStep, maxSearched
		}
	}
	if paged {
		view.Newer = withQuery(at, kept)
	}
	var items []queue.Item
	defer func() {
		for i, chips := range v.differing(items) {
			view.Builds[i].Params = chips
		}
	}()
	older := func(before int64) {
		kept.Set("before", strconv.FormatInt(before, 10))
		view.Older = withQuery(at, kept)
	}
	for seen := 0; ; {
		builds, err := v.ctl.Builds(v.R.Context(), full, before, step)
		if err != nil {
			return view, paged, err
		}
		for _, b := range builds {
			if !fits(b) {
				continue
			}
			if len(view.Builds) == buildsShown {
				older(view.Builds[buildsShown-1].Number)
				return view, paged || view.State != "", nil
			}
			view.Builds, items = append(view.Builds, v.buildRow(b)), append(items, b.Item)
		}
		if len(builds) < step {
			return view, paged || view.State != "", nil
		}
		before = builds[len(builds)-1].Number
		if seen += len(builds); seen >= most {
			older(before)
			return view, paged || view.State != "", nil
		}
	}
}

func withQuery(path string, query url.Values) string {
	if len(query) == 0 {
		return path
	}
	return path + "?" + query.Encode()
}

func (v *visit) buildRow(b queue.Build) buildRow {
	row := buildRow{
		Number: b.Number, URL: web.BuildURL(v.base, b.Item.Job, b.Number), State: buildMark(b),
		Started: b.Started, Running: b.Running(), Cause: firstCauseOf(b.Item),
	}
	if !b.Running() {
		row.Took = b.Ended.Sub(b.Started)
	}
	return row
}
