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

// buildsList is what lists of builds have around their rows.
type buildsList struct {
	// Action is the address of the form, and All that of the list without a query.
	Action, All string
	// States are the choices of the form that shows builds in one state.
	States []stateChoice
	buildsQuery
	// Everywhere lists the builds of the same starter in all jobs; "" if this list does, or
	// without a starter.
	Everywhere string
	// Looked is how many builds were looked at, if that is where the search stopped; 0 if the
	// page is full or has the last build.
	Looked int
	// Newer and Older are other pages; "" if there are none.
	Newer, Older string
}

// historyView is the region with a job's builds.
type historyView struct {
	buildsList
	Builds []buildRow
}

// buildsQuery is which builds a list shows.
type buildsQuery struct {
	// State is their state, "" for all, and By the starter, zero for all.
	State string
	By    starter
	fits  func(queue.Build) bool
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

// buildsQuery reads the query of a list of builds. A state that does not exist is ignored.
func (v *visit) buildsQuery() buildsQuery {
	values := v.R.URL.Query()
	q := buildsQuery{By: parseStarter(values.Get("by")), fits: func(queue.Build) bool { return true }}
	for _, c := range stateChoices {
		if c.Value == values.Get("state") {
			q.State, q.fits = c.Value, c.fits
		}
	}
	return q
}

// Filters reports whether the query leaves builds out.
func (q buildsQuery) Filters() bool { return q.State != "" || q.By != starter{} }

// values returns the query as it came, apart from the place in the list.
func (q buildsQuery) values() url.Values {
	values := url.Values{}
	if q.State != "" {
		values.Set("state", q.State)
	}
	if by := q.By.String(); by != "" {
		values.Set("by", by)
	}
	return values
}

// history returns the page of the job's builds that the query selects. fixed is set if the
// query selects older builds or only some of them: such a list is not updated live, so that
// its rows do not move while someone reads them.
func (v *visit) history(full, at string) (view historyView, fixed bool, err error) {
	before, paged := web.Number(v.R.URL.Query().Get("before"))
	query := v.buildsQuery()
	view.buildsList = buildsList{Action: at, All: at, States: stateChoices, buildsQuery: query, Everywhere: buildsBy(v.base, query.By)}
	fixed = paged || query.Filters()
	kept := query.values()
	step := buildsShown + 1
	if query.Filters() {
		step = searchStep
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
			return view, fixed, err
		}
		for _, b := range builds {
			if !query.fits(b) || !query.By.started(b.Item) {
				continue
			}
			if len(view.Builds) == buildsShown {
				older(view.Builds[buildsShown-1].Number)
				return view, fixed, nil
			}
			view.Builds, items = append(view.Builds, v.buildRow(b, at, query.By)), append(items, b.Item)
		}
		if len(builds) < step {
			return view, fixed, nil
		}
		before = builds[len(builds)-1].Number
		if seen += len(builds); seen >= maxSearched {
			older(before)
			view.Looked = seen
			return view, fixed, nil
		}
	}
}

func withQuery(path string, query url.Values) string {
	if len(query) == 0 {
		return path
	}
	return path + "?" + query.Encode()
}

// buildRow makes the row of a build. at is the address of the list, and by whose builds it has.
func (v *visit) buildRow(b queue.Build, at string, by starter) buildRow {
	row := buildRow{
		Number: b.Number, URL: web.BuildURL(v.base, b.Item.Job, b.Number), State: buildMark(b),
		Started: b.Started, Running: b.Running(), Cause: firstCauseOf(b.Item, at, by),
	}
	if !b.Running() {
		row.Took = b.Ended.Sub(b.Started)
	}
	return row
}
