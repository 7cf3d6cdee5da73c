package pages

import (
	"regexp"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// overdue is the factor above which a build takes longer than usual.
const overdue = 1.2

// briefest is the shortest duration that is worth an estimate.
const briefest = time.Second

// estimate is how far a running build is, as far as that is known. Without a usual duration
// it shows nothing.
type estimate struct {
	// Started is when the build started, Usual how long builds of the job take.
	Started time.Time
	Usual   time.Duration
	// Percent is how much of that has passed, at most 100. It is the only thing on a page
	// that follows from the time of rendering; see [digest].
	Percent int64
	// Brief is how long builds of the job take if Usual is 0 because that is too short to wait for.
	Brief time.Duration
	// Longer is set when the build takes longer than usual.
	Longer bool
}

// estimate returns how far a running build is.
func (v *visit) estimate(b queue.Build) (estimate, error) {
	of, err := v.ctl.Overviews(v.R.Context(), b.Item.Job)
	if err != nil {
		return estimate{}, err
	}
	usual := of[0].Summary.Usual()
	return estimateOf(v.Now, b.Started, usual), nil
}

// estimateOf returns how far a build is at an instant.
func estimateOf(now, started time.Time, usual time.Duration) estimate {
	longer := !now.Before(longerFrom(started, usual))
	if usual <= 0 || usual < briefest && !longer { // nothing to wait for
		return estimate{Started: started, Brief: usual}
	}
	passed := max(now.Sub(started), 0)
	return estimate{
		Started: started, Usual: usual, Percent: int64(min(100*passed/usual, 100)),
		Longer: longer,
	}
}

// longerFrom returns when a build takes longer than usual. A moment more is not worth telling.
func longerFrom(started time.Time, usual time.Duration) time.Time {
	return started.Add(max(time.Duration(overdue*float64(usual)), usual+briefest))
}

// next is when the build will take longer than usual, zero if that is not to come.
func (e estimate) next(now time.Time) time.Time {
	usual := max(e.Usual, e.Brief)
	if at := longerFrom(e.Started, usual); usual > 0 && now.Before(at) {
		return at
	}
	return time.Time{}
}

// passing finds what of a page follows from the time of rendering.
var passing = regexp.MustCompile(`<progress value="[0-9]+"`)
