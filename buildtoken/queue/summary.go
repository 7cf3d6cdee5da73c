package queue

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// MaxRecent is the maximum number of builds in [Summary.Recent].
const MaxRecent = 30

// Summary is the recent history of a job, updated in the commit that ends a build. It
// answers what lists of jobs show without reading records of builds, some of which may
// be dropped already. Its zero value is that of a job without ended builds.
type Summary struct {
	// Job is the full name.
	Job string `json:"job"`
	// Recent are the newest ended builds, highest number first, at most [MaxRecent].
	Recent []Ended `json:"recent,omitempty"`
	// Last has, for each result, the build with the highest number that ended with it.
	// See [Summary.LastWith].
	Last []Ended `json:"last,omitempty"`
	// StreakStart is the first build of the current streak: since then, all builds that came
	// to a verdict were SUCCESS, or none was. Zero if there was no verdict. A verdict is
	// SUCCESS, UNSTABLE or FAILURE.
	StreakStart Ended `json:"since,omitzero"`
}

// Ended is an ended build in a [Summary].
type Ended struct {
	Number  int64     `json:"number"`
	Result  Result    `json:"result"`
	Started time.Time `json:"started"`
	// Took is the duration of the build.
	Took time.Duration `json:"took"`
}

// Overview is everything that a list of jobs shows about one of them, at one instant.
type Overview struct {
	Lane    Lane
	Summary Summary
	// Oldest is the lowest build number on record, 0 if there is none. Builds of the
	// summary with lower numbers have been dropped.
	Oldest int64
}

// add returns the summary after the end of a build. The slices of s do not change.
func (s Summary) add(b Build) Summary {
	e := Ended{Number: b.Number, Result: b.Result, Started: b.Started, Took: b.Ended.Sub(b.Started)}
	if _, had := s.LastWith(Success, Unstable, Failure); !had && e.Result.Verdict() || s.turn(b) != "" {
		s.StreakStart = e
	}
	s.Job = b.Item.Job
	s.Recent = insert(s.Recent, e)
	s.Recent = s.Recent[:min(len(s.Recent), MaxRecent)]
	if last, ok := s.LastWith(e.Result); !ok || last.Number < e.Number {
		s.Last = insert(slices.DeleteFunc(slices.Clone(s.Last), func(other Ended) bool { return other.Result == e.Result }), e)
	}
	return s
}

// insert returns a new slice with e at its place by number, highest first: builds of a
// concurrent job end in any order.
func insert(ended []Ended, e Ended) []Ended {
	at, _ := slices.BinarySearchFunc(ended, e, func(a, b Ended) int { return cmp.Compare(b.Number, a.Number) })
	return slices.Insert(slices.Clip(ended), at, e)
}

// LastWith returns the build with the highest number among those that ended with one of
// some results. Without results, it is the ended build with the highest number.
func (s Summary) LastWith(results ...Result) (Ended, bool) {
	for _, e := range s.Last { // highest number first
		if len(results) == 0 || slices.Contains(results, e.Result) {
			return e, true
		}
	}
	return Ended{}, false
}

// FailingSince returns the first build of the streak of builds that were not SUCCESS, if the
// last verdict was not.
func (s Summary) FailingSince() (Ended, bool) {
	return s.StreakStart, s.StreakStart.Number > 0 && s.StreakStart.Result != Success
}

// Estimate returns how long a build is likely to take, in whole milliseconds: the mean of
// the last three [Result.Successful] ones in [Summary.Recent] and [Summary.Last], or of fewer
// if there are fewer; without any, the duration of the ended build with the highest number. It
// returns false if no build has ended. The mean is taken of whole milliseconds, as Jenkins' API
// shows durations, and rounded to milliseconds.
func (s Summary) Estimate() (time.Duration, bool) { return s.estimate() }

// Usual is [Summary.Estimate] without builds that were aborted or never ran, whose duration
// says nothing about the next one; 0 if there are no others.
func (s Summary) Usual() time.Duration {
	usual, _ := s.estimate(Success, Unstable, Failure)
	return usual
}

// estimate takes the last ended build with one of the results if none was successful.
func (s Summary) estimate(results ...Result) (time.Duration, bool) {
	// Last has successful builds that Recent has no longer.
	var seen []int64
	var sum float64
	for _, builds := range [][]Ended{s.Recent, s.Last} {
		for _, e := range builds {
			if e.Result.Successful() && len(seen) < 3 && !slices.Contains(seen, e.Number) {
				seen = append(seen, e.Number)
				sum += float64(e.Took.Milliseconds())
			}
		}
	}
	if len(seen) > 0 {
		return time.Duration(math.Round(sum/float64(len(seen)))) * time.Millisecond, true
	}
	last, ok := s.LastWith(results...)
	return last.Took.Truncate(time.Millisecond), ok
}

// turn returns [OnFixed] or [OnRegressed] if the build, which has just ended and is not
// yet part of the summary, turns the state of the job. Builds without a verdict are
// ignored, and so is a build that ends after one with a higher number.
func (s Summary) turn(b Build) Condition {
	before, had := s.LastWith(Success, Unstable, Failure)
	now := Ended{Number: b.Number, Result: b.Result}
	if !had || !now.Result.Verdict() || now.Number < before.Number || (before.Result == Success) == (now.Result == Success) {
		return ""
	}
	if now.Result == Success {
		return OnFixed
	}
	return OnRegressed
}
