package web

import (
	"errors"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/audit"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// Cancel takes an item out of the queue, with a line in the audit log. by names the caller.
func (q *Request) Cancel(ctl *buildtoken.Controller, full string, id int64, by string) error {
	err := ctl.Cancel(q.R.Context(), full, id, by)
	if !errors.Is(err, queue.ErrLeft) { // too late: nothing was decided
		q.audit(ctl, audit.Cancelled, audit.Decision{Action: "cancel", Job: full, Who: by, Item: id, Err: err})
	}
	return err //nolint:wrapcheck // it is the controller's
}

// StopBuild stops a running build, with a line in the audit log. by names the caller.
func (q *Request) StopBuild(ctl *buildtoken.Controller, full string, number int64, by string) error {
	err := ctl.StopBuild(q.R.Context(), full, number, by)
	if !errors.Is(err, queue.ErrNotRunning) {
		q.audit(ctl, audit.Stopped, audit.Decision{Action: "stop", Job: full, Who: by, Build: number, Err: err})
	}
	return err //nolint:wrapcheck // it is the controller's
}

// RefuseCancel returns [ErrForbidden], for a caller without the right to cancel, and writes a
// line to the audit log.
func (q *Request) RefuseCancel(ctl *buildtoken.Controller, full string, id int64) error {
	q.audit(ctl, "", audit.Decision{Action: "cancel", Job: full, Who: q.Who(), Item: id, Err: ErrForbidden})
	return ErrForbidden
}

// RefuseStop is like [Request.RefuseCancel].
func (q *Request) RefuseStop(ctl *buildtoken.Controller, full string, number int64) error {
	q.audit(ctl, "", audit.Decision{Action: "stop", Job: full, Who: q.Who(), Build: number, Err: ErrForbidden})
	return ErrForbidden
}

func (q *Request) audit(ctl *buildtoken.Controller, outcome string, d audit.Decision) {
	if d.Outcome = outcome; d.Err != nil {
		d.Outcome = audit.Refused
	}
	if !q.Operator && d.Who == q.Who() {
		d.Rule = "access cancel"
	}
	if d.Build != 0 {
		if b, err := ctl.Build(q.R.Context(), d.Job, d.Build); err == nil {
			d.Item = b.Item.ID
		}
	}
	d.Remote = q.Caller().RemoteText()
	ctl.Audit(d)
}
