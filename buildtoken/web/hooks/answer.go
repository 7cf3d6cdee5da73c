package hooks

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/audit"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/deliveries"
	"github.com/buildtoken/buildtoken/buildtoken/event"
	"github.com/buildtoken/buildtoken/buildtoken/hook"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// answer answers the sender and records the delivery.
func (d *delivery) answer(err error) {
	switch {
	case err != nil:
		v := web.VerdictOf(err)
		if d.slack() { // shows people only the text of a 200
			d.Write(http.StatusOK, web.PlainText, v.Text+"\n")
			d.record(http.StatusOK, err)
			return
		}
		d.record(v.Status, err)
		d.Fail(err)
	case d.ping:
		d.record(http.StatusOK, nil)
		d.Write(http.StatusOK, web.PlainText, "ok\n")
	default:
		status := d.status()
		d.record(status, nil)
		d.answerJobs(status)
	}
}

// slack reports whether the verified sender is Slack, which shows the answer to a person.
func (d *delivery) slack() bool {
	return len(d.webhooks) > 0 && d.webhooks[0].Kind == event.Slack
}

// status returns the status for the outcomes of all jobs. A job that is refused does not
// hide that another was queued: the sender would take the delivery for failed.
func (d *delivery) status() int {
	switch {
	case d.slack():
		return http.StatusOK
	case d.has(failed):
		return http.StatusServiceUnavailable
	case d.has(queued):
		return http.StatusCreated
	case d.has(joined), d.has(repeated):
		return http.StatusOK
	case d.has(invalid):
		return http.StatusBadRequest
	case d.has(denied):
		return http.StatusForbidden
	}
	return http.StatusOK
}

// has reports whether some job has an outcome.
func (d *delivery) has(outcome string) bool {
	return slices.ContainsFunc(d.results, func(r result) bool { return r.outcome() == outcome })
}

// outcome returns one word for the outcome of the delivery.
func (d *delivery) outcome() string {
	for _, o := range []string{failed, queued, joined, repeated, invalid, denied} {
		if d.has(o) {
			return o
		}
	}
	return ignored
}

// jobAnswer is one job in an answer as JSON.
type jobAnswer struct {
	Job     string `json:"job"`
	Outcome string `json:"outcome"`
	ID      int64  `json:"id,omitempty"`
	URL     string `json:"url,omitempty"`
	Created bool   `json:"created,omitempty"`
	Error   string `json:"error,omitempty"`
}

func (d *delivery) answerJobs(status int) {
	root, items := d.Root(), map[int64]bool{}
	jobs := make([]jobAnswer, 0, len(d.results))
	var lines strings.Builder
	for i := range d.results {
		r := &d.results[i]
		a := jobAnswer{Job: r.decision.Job, Outcome: r.outcome(), ID: r.out.Item.ID, Created: r.err == nil && r.out.Created && !r.out.Repeated}
		if a.ID != 0 {
			a.URL = web.ItemURL(root, a.ID)
			items[a.ID] = true
			d.W.Header().Set("Location", a.URL)
		}
		if r.err != nil {
			a.Error = d.Refuse(r.err).Text // sets Retry-After and X-Error
		}
		jobs = append(jobs, a)
		lines.WriteString(a.Job + ": " + a.line() + "\n")
	}
	if len(items) != 1 {
		d.W.Header().Del("Location")
	}
	if status != http.StatusServiceUnavailable {
		d.W.Header().Del("Retry-After")
	}
	if status != http.StatusBadRequest {
		d.W.Header().Del("X-Error")
	}
	switch {
	case d.WantsJSON():
		d.WriteJSON(status, struct {
			Jobs []jobAnswer `json:"jobs"`
		}{jobs})
	case d.outcome() == ignored:
		d.Write(status, web.PlainText, ignored+"\n")
	default:
		d.Write(status, web.PlainText, lines.String())
	}
}

// line returns the outcome of the delivery for this job as text.
func (a *jobAnswer) line() string {
	id := strconv.FormatInt(a.ID, 10)
	switch a.Outcome {
	case queued:
		return "queued as item " + id
	case joined:
		return "joined item " + id
	case repeated:
		return "delivered before, item " + id
	case ignored:
		return ignored
	}
	return a.Error
}

// record logs and counts the outcome of a delivery, and adds it to the deliveries that are kept.
func (d *delivery) record(status int, err error) {
	kept := deliveries.Delivery{
		At: d.Now, Target: d.shownTarget(), Remote: d.Caller().RemoteText(), Size: d.size, Status: status,
		Webhooks: names(d.webhooks), Signers: d.signers(), Outcome: d.outcome(), Replays: d.replays, By: d.by,
	}
	label := ""
	switch {
	case len(d.webhooks) > 0:
		label = d.webhooks[0].Name
		kept.Kind, kept.Header, kept.Body, kept.Concealed = d.webhooks[0].Kind, d.header, d.body, d.concealed
	case len(d.candidates) == 1:
		label = d.candidates[0].Name
	}
	switch {
	case err != nil:
		kept.Outcome, kept.Reason = refusal(err), web.Reason(err)
	case d.ping:
		kept.Outcome = "ping"
	}
	for i := range d.events {
		kept.Events = append(kept.Events, text(&d.events[i]))
		kept.Sender = queue.OneLine(d.events[i].ID, 200)
	}
	kept.Jobs = d.jobs()
	lines := make([]string, 0, len(kept.Jobs))
	for _, j := range kept.Jobs {
		line := j.Job + ": " + j.Outcome
		if j.Item != 0 {
			line += " " + strconv.FormatInt(j.Item, 10)
		}
		if j.Reason != "" {
			line += ", " + j.Reason
		}
		lines = append(lines, line)
	}
	if ctl, openErr := d.Open(); openErr == nil {
		ctl.Deliveries().Add(kept, label)
		if err != nil && len(d.candidates) > 0 && len(kept.Jobs) == 0 { // each job has its own line
			ctl.Audit(audit.Decision{Outcome: "refused", Action: "webhook", Job: kept.Target, Who: "webhook " + label, Remote: kept.Remote, Err: err})
		}
	}
	log := d.Logger().Info
	if kept.Outcome == failed {
		log = d.Logger().Error
	}
	log("webhook delivery", zap.String("outcome", kept.Outcome), zap.Strings("webhooks", kept.Webhooks), zap.Strings("events", kept.Events),
		zap.String("target", kept.Target), zap.Strings("jobs", lines), zap.String("reason", kept.Reason), zap.String("delivery", kept.Sender),
		zap.Int("status", status), zap.Int64("size", kept.Size), zap.String("remote", kept.Remote))
}

// shownTarget returns the name in the URL. If nothing has the name, it can be a token, or long.
func (d *delivery) shownTarget() string {
	if len(d.candidates) == 0 && len(d.webhooks) == 0 {
		return queue.OneLine(job.ShownName(d.target.job), 200)
	}
	return d.target.job
}

// signers returns the identities of the secrets of the webhooks that verified the delivery, or
// else of those that could have.
func (d *delivery) signers() [][32]byte {
	of := d.webhooks
	if len(of) == 0 {
		of = d.candidates
	}
	var all [][32]byte
	for _, w := range of {
		all = append(all, w.Identities()...)
	}
	return all
}

// maxJobs is how many jobs are kept and logged of one delivery: the folder of a large
// repository may have thousands, most of which ignore it.
const maxJobs = 100

// jobs returns the results as they are kept, those of jobs that did not ignore the delivery
// first.
func (d *delivery) jobs() []deliveries.Job {
	var jobs []deliveries.Job
	for _, ignoring := range []bool{false, true} {
		for i := range d.results {
			if r := &d.results[i]; (r.outcome() == ignored) == ignoring && len(jobs) < maxJobs {
				jobs = append(jobs, jobOf(r))
			}
		}
	}
	return jobs
}

// jobOf returns a result as it is kept.
func jobOf(r *result) deliveries.Job {
	j := deliveries.Job{Job: r.decision.Job, Outcome: r.outcome(), Item: r.out.Item.ID, Reason: r.decision.Ignored}
	if r.err != nil {
		j.Reason = web.Reason(r.err)
	}
	for _, s := range r.decision.Steps {
		j.Steps = append(j.Steps, deliveries.Step{Check: s.Check, Found: s.Found})
	}
	return j
}

// refusal returns in one word why a delivery was refused as a whole.
func refusal(err error) string {
	if _, ok := errors.AsType[*web.TooLargeError](err); ok {
		return "too_large"
	}
	switch {
	case errors.Is(err, hook.ErrUnsigned):
		return "unsigned"
	case errors.Is(err, hook.ErrMismatch):
		return "wrong_signature"
	case errors.Is(err, hook.ErrStale):
		return "stale"
	case errors.Is(err, event.ErrMalformed):
		return "malformed"
	case errors.Is(err, definition.ErrUnknownJob):
		return "unknown"
	}
	if web.VerdictOf(err).Status >= http.StatusInternalServerError {
		return failed
	}
	return "malformed"
}
