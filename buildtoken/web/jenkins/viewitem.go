package jenkins

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// maxItems is how many items a list of the queue shows.
const maxItems = 1000

// queue lists what is queued and may be read, soonest first.
func (v *view) queue() object {
	entries, err := v.ctl.Items(v.ctx(), v.d, "", maxItems)
	if err != nil {
		v.note(err)
	}
	items := []any{}
	for _, e := range entries {
		if v.r.mayRead(v.r.by, e.Item.Job) {
			items = append(items, v.item(e))
		}
	}
	return object{{"_class", "hudson.model.Queue"}, {"discoverableItems", []any{}}, {"items", items}}
}

// stuckAfter is how long an item waits for an executor before it is called stuck.
const stuckAfter = 24 * time.Hour

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
		{"stuck", state == queue.Buildable && (e.Blockage.Reason == queue.NoNode || v.now.Sub(it.Due) > stuckAfter)},
		{"task", v.task(it.Job)},
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

// task is the job of an item.
func (v *view) task(full string) any {
	lanes, err := v.ctl.Lanes(v.ctx(), full)
	j, ok := v.d.Tree().Job(full)
	if err != nil || !ok {
		v.note(err)
		return nil
	}
	return v.jobLink(j, lanes[0]).brief
}

// paramsText has each parameter on a line of its own, with a line break before it.
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
