package hooks

import (
	"net/http"
	"strings"

	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/event"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// Explanation has the checks of a delivery, and the builds that it would start.
type Explanation struct {
	// Steps are the checks of the delivery itself.
	Steps []definition.Step
	// Jobs are what each job does with each event.
	Jobs []JobExplanation
	// Status is that of the answer, provided that the queue takes everything and has not
	// had the delivery before.
	Status int
	// Err refused the delivery as a whole.
	Err error
}

// JobExplanation is what one job does with one event.
type JobExplanation struct {
	Job string
	// Outcome is queued, ignored, invalid or denied.
	Outcome string
	Steps   []definition.Step
	Err     error
}

// Explain makes the checks of a delivery to a job or folder, and those of the triggers that
// it would send, and queues nothing. It decides by the same code as [Serve]. The request
// must have begun.
func Explain(q *web.Request, job string) Explanation {
	d := &delivery{Request: q, target: target{job: job}, header: event.Header(q.R.Header)}
	var x Explanation
	x.Err = d.explain(&x)
	switch {
	case x.Err != nil:
		x.Status = web.VerdictOf(x.Err).Status
		if d.slack() {
			x.Status = http.StatusOK
		}
	case d.ping:
		x.Status = http.StatusOK
	default:
		x.Status = d.status()
	}
	return x
}

func (x *Explanation) step(check, found string, err error) error {
	if err != nil {
		found = err.Error()
	}
	x.Steps = append(x.Steps, definition.Step{Check: check, Found: found, OK: err == nil})
	return err
}

func (d *delivery) explain(x *Explanation) error {
	if err := x.step("method", d.R.Method, d.Allow(http.MethodPost)); err != nil {
		return err
	}
	jobs, err := d.jobsOf()
	if x.step("job", jobNames(jobs), err) != nil {
		return err
	}
	verified, raw, err := d.verify()
	if raw != nil {
		defer raw.Close()
	}
	if d.ping {
		return x.step("ping", "an unsigned test, which is answered", nil)
	}
	if x.step("signature", "right for webhook "+strings.Join(names(verified), ", "), err) != nil {
		return err
	}
	d.webhooks = verified
	body, done, err := d.parse(raw)
	if err == nil {
		defer done()
		err = d.read(jobs, body)
	}
	found := "a ping, which is answered"
	if !d.ping {
		var texts []string
		for i := range d.events {
			texts = append(texts, text(&d.events[i]))
		}
		found = strings.Join(texts, "; ")
	}
	if x.step("event", found, err) != nil || d.ping {
		return err
	}
	for i := range d.results {
		x.Jobs = append(x.Jobs, d.explainJob(&d.results[i]))
	}
	return nil
}

// explainJob makes the checks of the trigger that a job would send for an event.
func (d *delivery) explainJob(r *result) JobExplanation {
	j := JobExplanation{Job: r.decision.Job, Steps: r.decision.Steps}
	if r.wanted() {
		var trigger definition.Explanation
		_, r.err = d.Definition.Admit(d.background(), d.Now, definition.Guard{}, &r.trigger, &trigger)
		j.Steps = append(j.Steps, trigger.Steps...)
		r.out.Created = r.err == nil
	}
	j.Outcome, j.Err = r.outcome(), r.err
	return j
}

func jobNames(jobs []*definition.Compiled) string {
	var all []string
	for _, j := range jobs {
		all = append(all, j.FullName)
	}
	return strings.Join(all, ", ")
}
