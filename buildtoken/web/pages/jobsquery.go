package pages

import (
	"cmp"
	"net/url"
	"slices"
	"strings"

	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// jobsQuery is which jobs a list shows, and which folders are folded.
type jobsQuery struct {
	// Text is the text that names or descriptions must contain, State the state of the jobs.
	Text, State string
	// Sort is the order of the list, "" for that of folders, with failing jobs first.
	Sort  string
	order func(a, b jobRow) int
	words []string
	fits  func(jobRow) bool
	// folded and opened are the folders that are not as they are without a query.
	folded, opened []string
}

// jobState is a state of jobs as the query has it, and as people read it.
type jobState struct {
	Value, Word string
	fits        func(jobRow) bool
}

//nolint:gochecknoglobals // a constant table
var jobStates = []jobState{
	{failingWord, "Failing", func(r jobRow) bool { return r.Failing }},
	{"running", "Running", func(r jobRow) bool { return r.Running > 0 }},
	{"queued", "Queued", func(r jobRow) bool { return r.Queued > 0 }},
	{"stuck", "Stuck", func(r jobRow) bool { return r.Stuck != "" }},
	jobResult("success", queue.Success), jobResult("unstable", queue.Unstable),
	jobResult("aborted", queue.Aborted), jobResult("not_built", queue.NotBuilt),
	{"never", neverBuilt.Word, func(r jobRow) bool { return r.Build == 0 }},
	{"disabled", "Disabled", func(r jobRow) bool { return r.Disabled }},
}

func jobResult(value string, r queue.Result) jobState {
	return jobState{value, resultMark(r).Word, func(row jobRow) bool { return row.Build > 0 && row.Last == resultMark(r) }}
}

// jobSort is an order of jobs as the query has it, and as people read it.
type jobSort struct {
	Value, Word string
	order       func(a, b jobRow) int
}

//nolint:gochecknoglobals // a constant table
var jobSorts = []jobSort{{"fails", "Fails most", bySuccess}}

// bySuccess compares the shares of successes among the last builds with a verdict, lowest
// first, and if those are equal, the numbers of these builds, highest first. Jobs without such
// builds come last.
func bySuccess(a, b jobRow) int {
	good, all := successes(a.Recent)
	otherGood, otherAll := successes(b.Recent)
	switch {
	case all == 0 || otherAll == 0:
		return cmp.Compare(otherAll, all)
	default:
		return cmp.Or(cmp.Compare(good*otherAll, otherGood*all), cmp.Compare(otherAll, all))
	}
}

// jobsQuery reads the query of a list of jobs. A state or an order that does not exist is
// ignored.
func (v *visit) jobsQuery() jobsQuery {
	values := v.R.URL.Query()
	q := jobsQuery{
		Text: strings.TrimSpace(values.Get("q")), fits: func(jobRow) bool { return true },
		folded: values["fold"], opened: values["open"],
	}
	q.words = strings.Fields(strings.ToLower(q.Text))
	state := strings.ToLower(values.Get("state"))
	if state == "failed" || state == "failure" { // as in the history of a job
		state = failingWord
	}
	for _, s := range jobStates {
		if s.Value == state {
			q.State, q.fits = s.Value, s.fits
		}
	}
	for _, s := range jobSorts {
		if s.Value == values.Get("sort") {
			q.Sort, q.order = s.Value, s.order
		}
	}
	return q
}

// Filters reports whether the query leaves jobs out.
func (q jobsQuery) Filters() bool { return q.State != "" || len(q.words) > 0 }

// found reports whether all words that were searched for stand in the name or the
// description of a job.
func (q jobsQuery) found(full, description string) bool {
	if len(q.words) == 0 {
		return true
	}
	text := strings.ToLower(full + "\n" + web.Displayed(full) + "\n" + description)
	return !slices.ContainsFunc(q.words, func(word string) bool { return !strings.Contains(text, word) })
}

// open reports whether a folder is open, in a list of some length.
func (q jobsQuery) open(folder string, closed bool) bool {
	switch {
	case q.Filters():
		return true
	case closed:
		return slices.Contains(q.opened, folder)
	}
	return !slices.Contains(q.folded, folder)
}

// encoded returns the query for the stream of the page, as it came, "" if there is none.
func (q jobsQuery) encoded() string {
	values := url.Values{}
	if q.Text != "" {
		values.Set("q", q.Text)
	}
	if q.State != "" {
		values.Set("state", q.State)
	}
	if q.Sort != "" {
		values.Set("sort", q.Sort)
	}
	values["fold"], values["open"] = q.folded, q.opened
	return values.Encode()
}

// jobCount is a number of jobs, builds or items in a list, and where those are listed.
type jobCount struct {
	Number int
	Word   string
	State  mark
	URL    string
}

// failingWord is the word of jobs that fail, in the query and for people.
const failingWord = "failing"

// jobCounts are the facts about jobs, whether a list shows them or not.
type jobCounts struct{ Jobs, Failing, Running, Queued, Stuck int }

// plus returns the counts with another job.
func (c jobCounts) plus(row jobRow) jobCounts {
	c.Jobs++
	c.Running += row.Running
	c.Queued += row.Queued
	if row.Failing {
		c.Failing++
	}
	if row.Stuck != "" {
		c.Stuck++
	}
	return c
}

// Shown returns the counts that are not zero.
func (c jobCounts) Shown() []jobCount {
	all := []jobCount{
		{c.Failing, failingWord, resultMark(queue.Failure), ""},
		{c.Running, "running", mark{"running", ""}, ""},
		{c.Queued, "queued", mark{"waiting", ""}, ""},
		{c.Stuck, "stuck", stuckMark, ""},
	}
	return slices.DeleteFunc(all, func(one jobCount) bool { return one.Number == 0 })
}

// linked returns the counts that are not zero, with the addresses of the lists of these jobs.
// at is the address of the list of all jobs, and query what it shows of them.
func (c jobCounts) linked(at string, query jobsQuery) []jobCount {
	all := c.Shown()
	for i := range all {
		query.State = all[i].Word
		query.folded, query.opened = nil, nil
		all[i].URL = at + "?" + query.encoded()
	}
	return all
}

// byFolder sorts full names so that jobs of one folder stand together, and those of the
// folder itself come first.
func byFolder(a, b string) int {
	above, _ := job.Split(a)
	other, _ := job.Split(b)
	return strings.Compare(above, other)
}
