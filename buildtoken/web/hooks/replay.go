package hooks

import (
	"net/http"
	"slices"

	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// replayOf reports whether the path is that of the form by which a user plays a delivery again,
// and which delivery that is.
func replayOf(p web.Path) (id int64, ok bool) {
	if p.Len() != 4 || p.At(0) != "queue" || p.At(1) != "deliveries" || p.At(3) != "replayForm" {
		return 0, false
	}
	return web.Number(p.At(2))
}

// serveReplay answers the form.
func serveReplay(q *web.Request, id int64) {
	d := &delivery{Request: q, replays: id, by: q.Who()}
	if err := d.replay(); err != nil {
		q.Fail(err)
		return
	}
	status := d.status()
	d.record(status, nil)
	if q.WantsJSON() {
		d.answerJobs(status)
		return
	}
	q.W.Header().Set("Location", q.Root()+"queue/deliveries/")
	q.Write(http.StatusSeeOther, web.PlainText, d.outcome()+"\n")
}

// replay carries out a delivery that was verified before, with the configuration of now. It is for
// users who may build every job that takes it, and no repetition: it queues again.
func (d *delivery) replay() error {
	if err := d.Allow(http.MethodPost); err != nil {
		return err
	}
	if d.CrossSite() {
		return web.ErrCrossSite
	}
	ctl, err := d.Controller()
	if err != nil {
		return err //nolint:wrapcheck // as the verdict wants it
	}
	first, _ := ctl.Deliveries().Find(d.replays) // one that is not there has no webhooks, and below no jobs
	jobs, err := d.Definition.Hooked(first.Target)
	if err != nil || int64(len(first.Body)) != first.Size {
		return d.hidden(web.ErrNotFound)
	}
	for _, w := range webhooksOf(jobs, first.Kind) {
		if slices.Contains(first.Webhooks, w.Name) && w.SharesSecret(first.Signers) {
			d.webhooks = append(d.webhooks, w)
		}
	}
	jobs = slices.DeleteFunc(jobs, func(j *definition.Compiled) bool { return !j.Takes(d.webhooks) })
	for _, j := range jobs {
		if !d.May(definition.Start, j.FullName) {
			return web.ErrForbidden
		}
	}
	if len(jobs) == 0 {
		return d.hidden(web.ErrNotFound)
	}
	d.target.job, d.header, d.size, d.body = first.Target, first.Header, first.Size, first.Body
	return d.decide(jobs, first.Body)
}

// hidden returns the error, or that the caller may not do this at all.
func (d *delivery) hidden(err error) error {
	if !d.May(definition.Start, "") {
		return web.ErrForbidden
	}
	return err
}
