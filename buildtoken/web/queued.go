package web

import (
	"slices"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// QueuedLanes returns the lanes with queued items that the caller may read, those of jobs
// that no server has any more included. It reads no item.
func (q *Request) QueuedLanes(ctl *buildtoken.Controller) ([]queue.Lane, error) {
	lanes, err := ctl.QueuedLanes(q.R.Context())
	return slices.DeleteFunc(lanes, func(l queue.Lane) bool { return !q.ReadsLane(l) }), err
}

// ReadsLane reports whether the caller may read a lane of [buildtoken.Controller.QueuedLanes],
// which has those of other sites too.
func (q *Request) ReadsLane(l queue.Lane) bool {
	return (q.Definition.Has(l.Job) || !l.GoneUntil.IsZero()) && q.MayRead(l.Job)
}

// ReadableItems returns the first queued items that the caller may read, at most limit,
// earliest due first; with a job only its items, which the caller must be allowed to read. A
// limit above the number of these items makes it read the whole queue.
func (q *Request) ReadableItems(ctl *buildtoken.Controller, full string, limit int) ([]queue.Entry, error) {
	for ask := limit; ; ask *= 4 {
		all, err := ctl.Items(q.R.Context(), q.Definition, full, ask)
		if err != nil {
			return nil, err
		}
		complete := len(all) < ask
		if full == "" {
			all = slices.DeleteFunc(all, func(e queue.Entry) bool { return !q.MayRead(e.Item.Job) })
		}
		if complete || len(all) >= limit {
			return all[:min(len(all), limit)], nil
		}
	}
}
