package pages

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

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

// builds is the page with the newest builds of all jobs of a folder, "" being the root. Which
// builds there are follows from the summaries of the jobs, with one read, so it has the last
// [queue.MaxRecent] ended builds of each job. Records of builds are only read to show them,
// or to find out who started them.
func (v *visit) builds(folder string, jobs []string) (*page, error) {
	at := web.JobURL(v.base, folder)
	query := v.buildsQuery()
	view := buildsView{PerJob: queue.MaxRecent}
	view.buildsList = buildsList{Action: at, All: at + "?by=", States: stateChoices, buildsQuery: query}
	before, paged := web.Number(v.R.URL.Query().Get("before"))
	known, err := v.known(jobs, query)
	if err != nil {
		return nil, err
	}
	if paged {
		known = slices.DeleteFunc(known, func(b queue.Build) bool { return b.Started.UnixNano() >= before })
	}
	kept := query.values()
	kept.Set("by", query.By.String()) // also if it is "", which selects this page
	if paged {
		view.Newer = withQuery(at, kept)
	}
	for looked := 0; looked < len(known); {
		// Builds that started together stay together, since the next page goes on by time.
		together := looked + 1
		for together < len(known) && known[together].Started.Equal(known[looked].Started) {
			together++
		}
		if len(view.Builds) >= buildsShown || looked >= maxLooked {
			kept.Set("before", strconv.FormatInt(known[looked-1].Started.UnixNano(), 10))
			view.Older = withQuery(at, kept)
			if len(view.Builds) < buildsShown {
				view.Looked = looked
			}
			break
		}
		for _, b := range known[looked:together] {
			b, err := v.ctl.Build(v.R.Context(), b.Item.Job, b.Number)
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
		looked = together
	}
	pg := &page{
		Title: "Builds", Name: "builds", Here: "jobs", Feed: v.base + "rssAll", Crumbs: append(v.crumbs(folder), link{Text: "Builds", URL: view.All}),
		Regions: []region{{Name: "builds", Static: paged || query.Filters(), Data: view}},
		path:    withQuery(strings.TrimPrefix(web.JobURL("/", folder), "/"), kept),
	}
	if folder != "" {
		pg.Title, pg.Feed = "Builds · "+web.Displayed(folder), at+"rssAll"
	}
	if by := query.By.String(); by != "" {
		pg.Title = by + " · " + pg.Title
	}
	return pg, nil
}

// known returns the builds of jobs that are on record, newest first, as far as the summaries
// of the jobs have them, without those that are not in the state of a query. Builds that have
// ended have only what a summary has.
func (v *visit) known(jobs []string, query buildsQuery) ([]queue.Build, error) {
	overviews, err := v.ctl.Overviews(v.R.Context(), jobs...)
	if err != nil {
		return nil, err
	}
	here := v.running()
	var all []queue.Build
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
			all = append(all, b)
		}
		for _, e := range o.Summary.Recent {
			if o.Oldest > 0 && e.Number >= o.Oldest {
				all = append(all, queue.Build{
					Item: queue.Item{Job: jobs[i]}, Number: e.Number, Started: e.Started, Ended: e.Started.Add(e.Took), Result: e.Result,
				})
			}
		}
	}
	all = slices.DeleteFunc(all, func(b queue.Build) bool { return !query.fits(b) })
	slices.SortFunc(all, func(a, b queue.Build) int {
		return cmp.Or(b.Started.Compare(a.Started), strings.Compare(a.Item.Job, b.Item.Job), cmp.Compare(b.Number, a.Number))
	})
	return all, nil
}

func (v *visit) folderBuild(b queue.Build, at string, by starter) folderBuild {
	row := folderBuild{buildRow: v.buildRow(b, at, by), Job: web.Displayed(b.Item.Job), JobURL: web.JobURL(v.base, b.Item.Job)}
	row.Params = v.unusual(b.Item)
	return row
}
