package pages

import (
	"strconv"
	"strings"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/vault"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// buildHead is what changes on the page of a build while it runs.
type buildHead struct {
	Number  int64
	Job     string
	State   mark
	Running bool
	Reason  string
	// Abort names the caller that requested the stop.
	Abort          string
	Started, Ended time.Time
	Took           time.Duration
	// Stop is the address of the form that stops it; "" if the caller may not, or if there
	// is nothing to stop.
	Stop string
	// Usual is how long builds of the job take, 0 if that is not known or the build has ended.
	Usual estimate
	// Again is the address of the job's form, filled with the values of this build; "" if the
	// caller may not start builds.
	Again        string
	Older, Newer string
	// Cause is the first cause of the build, and Params its parameters, both shortened.
	Cause  firstCause
	Params chipsView
}

// buildFacts never change.
type buildFacts struct {
	Causes         causesView
	Params         []param
	Queued         time.Time
	Waited         time.Duration
	Node           string
	Executor, Item int64
	Remote         bool // it only follows another system, and takes no executor
}

// build is the page of a build; wide is the one with nothing but its console.
func (v *visit) build(full string, number int64, wide bool) (*page, error) {
	if !v.MayRead(full) {
		return nil, web.ErrForbidden
	}
	j, ok := v.Definition.Job(full)
	if !ok {
		return nil, web.ErrNotFound
	}
	var changed <-chan struct{}
	if v.streaming {
		changed = v.ctl.WatchBuilds(full)
	}
	b, err := v.ctl.Build(v.R.Context(), full, number)
	if err != nil {
		return nil, err
	}
	at := web.BuildURL(v.base, full, number)
	head := buildHead{
		Number: number, Job: j.Name(), Again: v.againURL(j, number), State: buildMark(b), Running: b.Running(), Reason: b.Reason, Abort: b.Abort,
		Started: b.Started, Ended: b.Ended, Took: b.Ended.Sub(b.Started), Cause: firstCauseOf(b.Item, v.startedBy(full), starter{}),
	}
	head.Cause.Note = shortened(head.Cause.Note, noteRunes)
	if b.Running() {
		if head.Usual, err = v.estimate(b); err != nil {
			return nil, err
		}
	}
	if b.Running() && b.Abort == "" && v.May(definition.Stop, full) {
		head.Stop = at + "stopForm"
	}
	older, newer, err := v.neighbours(full, number)
	if err != nil {
		return nil, err
	}
	if older != nil {
		head.Older = web.BuildURL(v.base, full, older.Number)
	}
	if newer != nil {
		head.Newer = web.BuildURL(v.base, full, newer.Number)
	}
	before := changes(b.Item, older)
	head.Params = v.notable(b.Item, before)
	display := "#" + strconv.FormatInt(number, 10)
	pg := &page{
		Icon: head.State.Class, Title: titled(head.State, web.Displayed(full)+" "+display), Name: "build", Here: "jobs",
		Crumbs: append(v.crumbs(full), link{Text: display, URL: at}),
		Say:    "Build " + display + ": " + head.State.Word, path: strings.TrimPrefix(web.BuildURL("/", full, number), "/"),
		ended: !b.Running(), changed: changed, next: head.Usual.next(v.Now),
		log: &buildOf{full, number}, Regions: []region{{Name: "buildhead", Data: head}},
	}
	if wide {
		pg.Name = "console"
		pg.path += "console"
	}
	if v.streaming {
		return pg, nil
	}
	console, err := v.console(b, at, wide)
	if err != nil {
		return nil, err
	}
	pg.Regions = append(pg.Regions, region{Name: "console", Static: true, Data: console})
	if !wide {
		pg.Regions = append(pg.Regions, region{Name: "buildfacts", Static: true, Data: v.facts(b, before)})
		notifications, err := v.notifications(full, b.Item.ID)
		if err != nil {
			return nil, err
		}
		if len(notifications) > 0 {
			pg.Regions = append(pg.Regions, region{Name: "notifications", Static: true, Data: notifications})
		}
	}
	return pg, nil
}

func (v *visit) facts(b queue.Build, before map[string]*was) buildFacts {
	j, err := v.Definition.Find(b.Item.Job)
	return buildFacts{
		Remote: err == nil && j.Remote(),
		Causes: causesOf(b.Item, v.startedBy(b.Item.Job)), Params: v.params(b.Item, before), Queued: b.Item.Since, Waited: b.Started.Sub(b.Item.Since),
		Node: b.Node, Executor: int64(b.Executor) + 1, Item: b.Item.ID,
	}
}

// neighbours are the builds before and after one; nil if there is none on record.
func (v *visit) neighbours(full string, number int64) (older, newer *queue.Build, err error) {
	before, err := v.ctl.Builds(v.R.Context(), full, number, 1)
	if err != nil {
		return nil, nil, err
	}
	if len(before) > 0 {
		older = &before[0]
	}
	// Builds are numbered without gaps, but those in between may be dropped.
	after, err := v.ctl.Build(v.R.Context(), full, number+1)
	if missing(err) {
		return older, nil, nil
	}
	return older, &after, err
}

// param is a value as people may see it.
type param struct {
	Name, Kind, Text string
	Description      string
	// URL is where the configuration links the value to, or "".
	URL string
	// Masked values are not shown, Cut ones not to their end.
	Masked, Cut bool
	// Long values need room.
	Long bool
	Size string
	// Was is the value of the build before, shortened; nil if that is the same or not known.
	Was *was
}

// textShown is how much of a value is shown, in bytes.
const textShown = 4 << 10

// params are the values of an item, before those that the build before had instead. The text of a
// password is never there.
func (v *visit) params(it queue.Item, before map[string]*was) []param {
	var all []param
	j, _ := v.Definition.Job(it.Job)
	for _, value := range it.Values {
		one := param{Name: value.Name, Kind: value.Kind, Text: value.Text, Was: before[value.Name]}
		if j != nil {
			one.Description, one.URL = described(j, value)
		}
		if value.Kind == string(job.KindPassword) {
			one.Masked, one.Text = !vault.IsEmpty(value), ""
		}
		one.Long = len(one.Text) > 60 || strings.Contains(one.Text, "\n")
		if len(one.Text) > textShown {
			one.Size = size(int64(len(one.Text)))
			one.Text, one.Cut = strings.ToValidUTF8(one.Text[:textShown], ""), true
		}
		all = append(all, one)
	}
	return all
}

// described returns the description of a parameter and the link of its value, as the
// job defines them now.
func described(j *job.Job, value queue.Value) (description, link string) {
	for _, p := range j.Params {
		if p.Name != value.Name {
			continue
		}
		if string(p.Kind) == value.Kind && len(value.Text) <= textShown { // a password that was none before stays masked
			link = p.URL(value.Text)
		}
		return p.Description, link
	}
	return "", ""
}
