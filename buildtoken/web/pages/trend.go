package pages

import (
	"html/template"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// Sizes of the chart in units of its drawing.
const (
	barSlot   = 10 // width of a bar and the gap after it
	barHeight = 60 // height of the longest bar
	barLeast  = 3  // height of the shortest one
)

// bar is an ended build in the chart.
type bar struct {
	endedRow
	// X is the left edge, Y the top and Height the height of the bar.
	X, Y, Height int
}

// endedRow is an ended build of a summary.
type endedRow struct {
	Number  int64
	State   mark
	Started time.Time
	Took    time.Duration
	// URL is "" if the build is no longer on record.
	URL string
}

// trendView is the region with the last builds of a job.
type trendView struct {
	// Bars are the last ended builds, oldest first.
	Bars []bar
	// Width is that of the chart, which has room for all bars from the first one on.
	Width int
	// Succeeded is how many of the bars did. Verdicts is how many came to a verdict, and Percent
	// how many of a hundred of those succeeded.
	Succeeded, Verdicts, Percent int
	// Median is that of the durations of all bars, and Longest the longest.
	Median, Longest time.Duration
	// Usual is how long builds usually take, as pages of running builds and queued items have
	// it. Mean is set if it is the mean of the last successful builds.
	Usual time.Duration
	Mean  bool
	// Since is the first of the builds in a row that were not successful; nil if the last
	// one was.
	Since *endedRow
	// Success and Failure are the last builds with that result; nil if there is none.
	Success, Failure *endedRow
}

// trend is about the last builds of a job. It reads no record of a build.
func (v *visit) trend(o queue.Overview) trendView {
	var view trendView
	var took []time.Duration
	for _, e := range o.Summary.Recent {
		took = append(took, e.Took)
	}
	view.Succeeded, view.Verdicts = successes(o.Summary.Recent)
	if len(took) == 0 {
		return view
	}
	slices.Sort(took)
	view.Longest, view.Median = took[len(took)-1], (took[(len(took)-1)/2]+took[len(took)/2])/2
	if view.Verdicts > 0 {
		view.Percent = percent(view.Succeeded, view.Verdicts)
	}
	view.Usual = o.Summary.Usual()
	view.Mean = slices.ContainsFunc(o.Summary.Last, func(e queue.Ended) bool { return e.Result.Successful() })
	view.Width = barSlot * queue.MaxRecent
	for i, e := range slices.Backward(o.Summary.Recent) {
		b := bar{endedRow: v.endedRow(o, e), X: barSlot * (len(took) - 1 - i)}
		b.Height = barLeast
		if view.Longest > 0 {
			b.Height += int(float64(barHeight-barLeast) * float64(e.Took) / float64(view.Longest))
		}
		b.Y = barHeight - b.Height
		view.Bars = append(view.Bars, b)
	}
	pick := func(e queue.Ended, ok bool) *endedRow {
		if !ok {
			return nil
		}
		row := v.endedRow(o, e)
		return &row
	}
	view.Since = pick(o.Summary.FailingSince())
	view.Success = pick(o.Summary.LastWith(queue.Success))
	view.Failure = pick(o.Summary.LastWith(queue.Failure))
	return view
}

func (l *outlook) endedRow(o queue.Overview, e queue.Ended) endedRow {
	row := endedRow{Number: e.Number, State: resultMark(e.Result), Started: e.Started, Took: e.Took}
	if o.Oldest > 0 && e.Number >= o.Oldest {
		row.URL = web.BuildURL(l.base, o.Lane.Job, e.Number)
	}
	return row
}

// successes returns how many builds succeeded, and how many came to a verdict.
func successes(ended []queue.Ended) (succeeded, verdicts int) {
	for _, e := range ended {
		if e.Result == queue.Success {
			succeeded++
		}
		if e.Result.Verdict() {
			verdicts++
		}
	}
	return succeeded, verdicts
}

// percent returns how many of a hundred a share is, rounded.
func percent(part, of int) int { return (200*part + of) / (2 * of) }

// dotsShown is how many results a list of jobs shows of each of them.
const dotsShown = 10

// dots are the last results of a job, oldest first, with their text alternative. They are
// written by hand: a page has thousands of them.
func dots(recent []queue.Ended) template.HTML {
	recent = recent[:min(len(recent), dotsShown)]
	if len(recent) == 0 {
		return ""
	}
	succeeded, verdicts := successes(recent)
	alike := 0
	var shapes strings.Builder
	for i, e := range slices.Backward(recent) {
		if e.Result == queue.Success {
			// Successes in a row are one element, which keeps large pages small.
			if alike++; i > 0 && recent[i-1].Result == queue.Success {
				continue
			}
		}
		shapes.WriteString(`<i class="dot-` + resultMark(e.Result).Class) // constants
		if alike > 1 {
			shapes.WriteString(" x" + strconv.Itoa(alike))
		}
		alike = 0
		shapes.WriteString(`"></i>`)
	}
	text := strconv.Itoa(succeeded) + " of the last " + plural(len(recent), "build", "builds") + " succeeded"
	share := ""
	if succeeded < verdicts {
		share = ` <small>` + strconv.Itoa(percent(succeeded, verdicts)) + ` %</small>`
	}
	return template.HTML(`<span class="dots" role="img" title="` + text + `">` + shapes.String() + `</span>` + share) //nolint:gosec // constants and numbers
}
