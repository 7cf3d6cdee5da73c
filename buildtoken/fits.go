package buildtoken

import (
	"strings"

	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

// maxSmall is how long a small value is at most, in bytes. Builds with small values
// are most of all, and of a job that could be started with the largest of them, all can.
const maxSmall = 4 << 10

// small says whether root and values are.
func small(root string, values []job.Value) bool {
	if len(root) > maxSmall {
		return false
	}
	for i := range values {
		if len(values[i].Text) > maxSmall || strings.Contains(values[i].Text, "\x00") {
			return false
		}
	}
	return true
}

// fits says whether the runner could start a build with these values, if it knows that before.
func (j *definedJob) fits(root string, values []job.Value) error {
	sizer, ok := j.runner.(runner.Sizer)
	if !ok {
		return nil
	}
	return sizer.Fits(environment(j, queue.Build{Item: queue.Item{Root: root}}, values, place{}), params(j.Job, values))
}

// fitsLargestSmall says whether a build fits whose values are the largest small ones.
func (j *definedJob) fitsLargestSmall() bool {
	largest := strings.Repeat("x", maxSmall)
	values := make([]job.Value, len(j.Params))
	for i, p := range j.Params {
		values[i] = job.Value{Name: p.Name, Kind: p.Kind, Text: largest}
	}
	return j.fits(largest, values) == nil
}
