package pages

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// maxLooked is how many records of builds are read for one page of the builds of a folder.
const maxLooked = 500

// buildsView is the region with the builds of a folder.
type buildsView struct {
	buildsList
	Builds []folderBuild
	// PerJob is how many ended builds of each job the list has at most.
	PerJob int
}

// folderBuild is a build in the list of a folder.
type folderBuild struct {
	buildRow
	Job    string
	JobURL string
}

// knownBuild is a build that is on record. started is in nanoseconds since 1970.
type knownBuild struct {
	started, number int64
	job             string
}

// builds is the page with the newest builds of all jobs of a folder, "" being the root. Which
// builds there are follows from the summaries of the jobs, with one read, so it has the last
// [queue.MaxRecent] ended builds of each job. Records of builds are only read to show them,
// or to find out who started them.
func (v *visit) builds(folder string, jobs []string) (*page, error) {
	at := web.JobURL(v.base, folder)
	query := v.buildsQuery()
	view := buildsView{PerJob: queue.MaxRecent}
	view.buildsList = buildsList{Action: at, All: at + "?by=", States: stateChoices, buildsQuery: query}
	kept := query.values()
	kept.Set("by", query.By.String()) // also if it is "", which selects this page
	before, paged := web.Number(v.R.URL.Query().Get("before"))
	if paged {
		view.Newer = withQuery(at, kept)
	} else {
		before = math.MaxInt64
	}
	known, err := v.known(jobs, query.fits, before)
	if err != nil {
		return nil, err
	}
	for looked := 0; looked < len(known); {
		if len(view.Builds) >= buildsShown || looked >= maxLooked {
			kept.Set("before", strconv.FormatInt(known[looked-1].started, 10))
			view.Older = withQuery(at, kept)
			if len(view.Builds) < buildsShown {
				view.Looked = looked
			}
			break
		}
		// Builds that started together stay together, since the next page goes on by time.
		for together := known[looked].started; looked < len(known) && known[looked].started == together; looked++ {
			b, err := v.ctl.Build(v.R.Context(), known[looked].job, known[looked].number)
			if missing(err) { // dropped meanwhile
				continue
			}
			if err != nil {
				return nil, err
			}
			if query.fits(b) && query.By.started(b.Item) {
				view.Builds = append(view.Builds, v.folderBuild(b, at, query.By))
			}
		}
	}
	pg := &page{
		Title: "Builds", Name: "builds", Here: "jobs", Feed: v.base + "rssAll", Crumbs: append(v.crumbs(folder), link{Text: "Builds", URL: view.All}),
		Regions: []region{{Name: "builds", Static: paged || query.Filters(), Data: view}},
		path:    strings.TrimPrefix(web.JobURL("/", folder), "/") + "?by=", // the stream of the newest ones
	}
	if folder != "" {
		pg.Title, pg.Feed = "Builds · "+web.Displayed(folder), at+"rssAll"
	}
	if by := query.By.String(); by != "" {
		pg.Title = by + " · " + pg.Title
	}
	return pg, nil
}

// known returns the builds of jobs that started before an instant, newest first, as far as the
// summaries of the jobs have them and as far as they fit.
func (v *visit) known(jobs []string, fits func(queue.Build) bool, before int64) ([]knownBuild, error) {
	overviews, err := v.ctl.Overviews(v.R.Context(), jobs...)
	if err != nil {
		return nil, err
	}
	here := v.running()
	var all []knownBuild
	add := func(full string, number int64, started time.Time, r queue.Result) {
		if at := started.UnixNano(); at < before && fits(queue.Build{Result: r}) {
			all = append(all, knownBuild{started: at, number: number, job: full})
		}
	}
	for i, o := range overviews {
		for _, number := range o.Lane.Running {
			b, ok := here[buildOf{jobs[i], number}]
			if !ok {
				if b, err = v.ctl.Build(v.R.Context(), jobs[i], number); missing(err) {
					continue
				} else if err != nil {
					return nil, err
				}
			}
			add(jobs[i], number, b.Started, b.Result)
		}
		for _, e := range o.Summary.Recent {
			if o.Oldest > 0 && e.Number >= o.Oldest {
				add(jobs[i], e.Number, e.Started, e.Result)
			}
		}
	}
	slices.SortFunc(all, func(a, b knownBuild) int {
		if c := cmp.Compare(b.started, a.started); c != 0 {
			return c
		}
		return cmp.Or(strings.Compare(a.job, b.job), cmp.Compare(b.number, a.number))
	})
	return all, nil
}

func (v *visit) folderBuild(b queue.Build, at string, by starter) folderBuild {
	row := folderBuild{buildRow: v.buildRow(b, at, by), Job: web.Displayed(b.Item.Job), JobURL: web.JobURL(v.base, b.Item.Job)}
	row.Params = v.unusual(b.Item)
	return row
}
