package jenkins

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// maxItems is how many items the queue shows. How many there are is in a header if they are
// not all shown.
const maxItems = 10_000

// queue lists what is queued and may be read, soonest first.
func (v *view) queue() object {
	lanes, err := v.r.QueuedLanes(v.ctl)
	v.note(err)
	for _, l := range lanes {
		v.total += l.Queued
	}
	entries, err := v.r.ReadableItems(v.ctl, "", min(v.total, maxItems))
	v.note(err)
	v.prepareLanes(entries)
	items := make([]any, len(entries))
	for i, e := range entries {
		items[i] = v.item(e)
	}
	return object{{"_class", "hudson.model.Queue"}, {"discoverableItems", []any{}}, {"items", items}}
}

// item is one item, queued or left.
func (v *view) item(e queue.Entry) object {
	it := e.Item
	state := e.State
	class := map[queue.State]string{
		queue.Waiting: "WaitingItem", queue.Blocked: "BlockedItem", queue.Buildable: "BuildableItem", queue.Left: "LeftItem",
	}[state]
	o := object{
		{"_class", "hudson.model.Queue$" + class},
		{"actions", v.actions(it)},
		{"blocked", state == queue.Blocked},
		{"buildable", state == queue.Buildable},
		{"id", it.ID},
		{"inQueueSince", it.Since.UnixMilli()},
		{"params", paramsText(it.Values)},
		{"stuck", web.Stuck(v.now, e)},
		{"task", v.task(e)},
		{"url", "queue/item/" + strconv.FormatInt(it.ID, 10) + "/"},
		{"why", orNull(v.why(e))},
	}
	switch state {
	case queue.Waiting:
		return append(o, member{"timestamp", it.Due.UnixMilli()})
	case queue.Blocked:
		return append(o, member{"buildableStartMilliseconds", it.Due.UnixMilli()})
	case queue.Buildable:
		return append(o, member{"buildableStartMilliseconds", it.Due.UnixMilli()}, member{"pending", false})
	case queue.Left:
	}
	var executable any
	if e.Build != nil {
		executable = v.buildLink(*e.Build)
	}
	return append(o, member{"cancelled", e.Cancelled != nil}, member{"executable", executable})
}

// prepareLanes reads the lanes of all items at once.
func (v *view) prepareLanes(entries []queue.Entry) {
	jobs := map[string]struct{}{}
	for _, e := range entries {
		jobs[e.Item.Job] = struct{}{}
	}
	lanes, err := v.ctl.Lanes(v.ctx(), slices.Sorted(maps.Keys(jobs))...)
	v.note(err)
	for _, lane := range lanes {
		v.lanes[lane.Job] = lane
	}
}

// task is the job of an item. A job that no server has any more keeps its name and address,
// because clients read them without a check.
func (v *view) task(e queue.Entry) any {
	full := e.Item.Job
	if _, ok := v.lanes[full]; !ok {
		v.prepareLanes([]queue.Entry{e})
	}
	j, ok := v.d.Tree().Job(full)
	if !ok {
		gone := job.Job{FullName: full}
		return object{{"_class", classJob}, {"name", gone.Name()}, {"url", v.jobURL(full)}, {"color", "notbuilt"}}
	}
	return v.jobLink(j, v.lanes[full]).brief
}

// paramsText returns each parameter on a separate line, after a line break.
func paramsText(values []queue.Value) string {
	var b strings.Builder
	for _, value := range values {
		b.WriteString("\n" + job.Value{Name: value.Name, Kind: job.Kind(value.Kind), Text: value.Text}.String())
	}
	return b.String()
}

// actions are the parameters and causes of an item.
func (v *view) actions(it queue.Item) []any {
	var actions []any
	if len(it.Values) > 0 {
		params := make([]any, len(it.Values))
		for i, value := range it.Values {
			params[i] = parameterValue(value.Name, job.Kind(value.Kind), value.Text)
		}
		actions = append(actions, object{{"_class", "hudson.model.ParametersAction"}, {"parameters", params}})
	}
	return append(actions, object{{"_class", "hudson.model.CauseAction"}, {"causes", causes(it)}})
}

// parameterValue is a value as its class shows it. A password has no value,
// and the content of a file none that fits.
func parameterValue(name string, kind job.Kind, text string) object {
	var value any = text
	class := "StringParameterValue"
	switch kind {
	case job.KindText:
		class = "TextParameterValue"
	case job.KindBoolean:
		class, value = "BooleanParameterValue", text == "true"
	case job.KindPassword:
		return object{{"_class", "hudson.model.PasswordParameterValue"}, {"name", name}}
	case job.KindFile:
		return object{{"_class", "hudson.model.FileParameterValue"}, {"name", name}, {"originalFileName", text}}
	case job.KindString, job.KindChoice:
	}
	return object{{"_class", "hudson.model." + class}, {"name", name}, {"value", value}}
}

// maxCauses is how often one cause is repeated that came again and again.
const maxCauses = 20

// causes are the causes, each as often as it came, equal ones together.
func causes(it queue.Item) []any {
	var all []any
	for _, c := range it.Causes {
		o := object{{"_class", "hudson.model.Cause"}, {"shortDescription", c.String()}}
		switch c.Kind {
		case queue.CauseRemote:
			o[0].value = "hudson.model.Cause$RemoteCause"
			var note any
			if c.Noted {
				note = c.Note
			}
			o = append(o, member{"addr", c.Addr}, member{"note", note})
		case queue.CauseUser:
			o[0].value = "hudson.model.Cause$UserIdCause"
			o = append(o, member{"userId", orNull(c.User)}, member{"userName", c.User})
		case queue.CauseSCM:
			o[0].value = "hudson.triggers.SCMTrigger$SCMTriggerCause"
		case queue.CauseWebhook: // each plugin of Jenkins has its own class
		case queue.CauseTimer:
			o[0].value = "hudson.triggers.TimerTrigger$TimerTriggerCause"
		}
		for range min(c.Count, maxCauses) {
			all = append(all, o)
		}
	}
	if it.MoreCauses > 0 {
		all = append(all, object{{"_class", "hudson.model.Cause"}, {"shortDescription", fmt.Sprintf("Started by %d more triggers", it.MoreCauses)}})
	}
	return all
}

// why returns why a queued item is not started, with an estimate of when it will be; ""
// if it has left the queue.
func (v *view) why(e queue.Entry) string {
	eta := ""
	if e.State == queue.Blocked && e.Blockage.Reason == queue.BuildRunning {
		eta = v.eta(e.Item.Job, e.Blockage.Number)
	}
	return web.WhyNow(v.now, e, eta)
}

// eta returns the estimated rest of a running build, "N/A" if it is unknown.
func (v *view) eta(full string, number int64) string {
	at := buildOf{full, number}
	if known, ok := v.etas[at]; ok {
		return known
	}
	eta := "N/A"
	if estimate := v.estimate(full); estimate >= 0 {
		b, err := v.ctl.Build(v.ctx(), full, number)
		if left := b.Started.Add(estimate).Sub(v.now); err == nil && left > 0 {
			eta = web.TimeSpan(left)
		}
	}
	v.etas[at] = eta
	return eta
}
