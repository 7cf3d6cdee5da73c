package pages

import (
	"maps"
	"slices"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// soonest returns the earlier instant; zero is none.
func soonest(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}

// usual returns how long builds usually take, by the job of some items, with one query.
func (v *visit) usual(entries ...queue.Entry) (map[string]time.Duration, error) {
	of := map[string]time.Duration{}
	for _, e := range entries {
		of[e.Item.Job] = 0
	}
	jobs := slices.Sorted(maps.Keys(of))
	if len(jobs) == 0 {
		return of, nil
	}
	overviews, err := v.ctl.Overviews(v.R.Context(), jobs...)
	for i := range overviews {
		of[jobs[i]] = overviews[i].Summary.Usual()
	}
	return of, err
}

// free returns when the build that an item waits for is expected to end; zero if there is
// none, or it should have ended already.
func (v *visit) free(e queue.Entry, usual time.Duration) (time.Time, error) {
	if e.State == queue.Left || e.Blockage.Reason != queue.BuildRunning {
		return time.Time{}, nil
	}
	b, here := v.running()[buildOf{e.Item.Job, e.Blockage.Number}]
	if !here {
		var err error
		if b, err = v.ctl.Build(v.R.Context(), e.Item.Job, e.Blockage.Number); err != nil {
			if missing(err) {
				err = nil
			}
			return time.Time{}, err
		}
	}
	if end := b.Started.Add(usual); end.After(v.Now) {
		return end, nil
	}
	return time.Time{}, nil
}
