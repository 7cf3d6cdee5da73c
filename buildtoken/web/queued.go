package web

import (
	"slices"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// QueuedLanes returns the lanes with queued items that the caller may read, those of jobs
// that no server has any more included. It reads no item.
func (q *Request) QueuedLanes(ctl *buildtoken.Controller) ([]queue.Lane, error) {
	lanes, err := ctl.Lanes(q.R.Context(), q.Readable("")...)
	if err != nil {
		return nil, err
	}
	gone, err := ctl.Gone(q.R.Context())
	if err != nil {
		return nil, err
	}
	queued := lanes[:0]
	for _, l := range lanes {
		if l.Queued > 0 && l.GoneUntil.IsZero() {
			queued = append(queued, l)
		}
	}
	for _, l := range gone {
		if q.MayRead(l.Job) {
			queued = append(queued, l)
		}
	}
	return queued, nil
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
